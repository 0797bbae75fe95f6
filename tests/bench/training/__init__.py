"""What the trainer's loop costs, against bare arithmetic and against loops in the usual styles.

`python -m tests.bench.training --help`; `make bench-train` calls it.
"""
