"""The model of a class."""
