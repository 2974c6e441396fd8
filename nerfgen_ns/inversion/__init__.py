"""Inversion: photographs become latent codes of a trained class."""
