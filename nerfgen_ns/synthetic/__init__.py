"""Procedural classes of objects whose truth is known: what the demo and the tests run on."""

from typing import Literal

ClassName = Literal["heads", "cars"]
"""The embedded classes."""
