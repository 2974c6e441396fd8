"""Speed and quality, measured by commands that anyone can run: `python -m benchmarks.NAME --help`."""
