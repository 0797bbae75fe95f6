"""A bundle to answers: `python -m predictor --bundle DIR`."""
