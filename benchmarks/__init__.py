"""Committed benchmarks: pytest-benchmark suites (`bench_*.py`) and the worker's saturation harness.

See README.md beside this file for what each measures, how to run it and how to read it.
"""
