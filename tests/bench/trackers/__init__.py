"""What the trackers cost and what they keep, on the same run."""
