"""`tune`: a search over settings, one training per trial, several at once.

The process that is started by hand asks Optuna for the trials, runs each in a worker, and is the
only one on its machine that speaks with the study's database.
"""
