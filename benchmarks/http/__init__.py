"""What the benchmarks of the quote service share.

An insurer, servers on a core of their own, a load generator.
"""
