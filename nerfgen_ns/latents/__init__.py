"""Latent codes: the table, the space, files of codes."""
