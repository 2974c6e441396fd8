"""Cameras from landmarks, over a whole collection."""
