"""What a released classifier is: its bundle, image path, networks, explanation and decision."""
