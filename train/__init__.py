"""Images to a gated, explained, calibrated bundle in MLflow."""
