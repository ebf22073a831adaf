"""Measurements that the docs quote: each is a command, and its results lie in benchmarks/results/."""
