"""Benchmarks: `make bench` runs all, `make bench ONLY=name` one; figures go to benchmarks/results.json."""
