"""Scores many files offline, through the server's own pipeline."""
