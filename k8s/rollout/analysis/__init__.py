"""The comparisons of the target with the primary, one module each."""
