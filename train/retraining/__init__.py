"""`retrain`: from images to a release, where something has changed since the last time."""
