"""Cameras as mathematics: rigid motions, projection, paths, alignment."""
