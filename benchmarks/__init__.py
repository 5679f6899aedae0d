"""Benchmarks: how fast foldlog is beside raw SQLite, plain files and other libraries' own writers.

Not part of the package and not installed. `benchmarks/README.md` says how to run them and what each case is.
"""
