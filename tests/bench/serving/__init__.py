"""What the predictor costs, against the in-process ideal and against other servers.

`python -m tests.bench.serving --help`; `make bench` and `make bench-peers` call it.
"""
