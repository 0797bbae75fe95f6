"""The canary analyst: steps traffic to a new model while it is no worse than the old one."""
