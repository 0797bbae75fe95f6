"""Rollouts with known truth, decided by the analyst's own code."""
