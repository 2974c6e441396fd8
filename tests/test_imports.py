"""The rooms of the house: which may import which."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
