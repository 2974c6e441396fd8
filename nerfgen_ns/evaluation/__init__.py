"""Evaluation: renders against the truth, samples and the latent space, one protocol a module."""
