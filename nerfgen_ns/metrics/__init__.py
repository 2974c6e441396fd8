"""Metrics of images, depth, shape and samples. Pure functions."""
