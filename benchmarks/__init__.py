"""Benchmarks: each prints one JSON object as its last line. They are no tests; no test asserts a time."""
