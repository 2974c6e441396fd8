"""What `python -m benchmarks.ablate` is made of: variants, their data, their runs, tables and plots."""
