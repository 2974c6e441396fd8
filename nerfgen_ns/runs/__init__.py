"""Trained runs: on disk, made of codes, or in one file."""
