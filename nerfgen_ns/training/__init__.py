"""Training: trainer, optimizers, pipeline, checkpoints."""
