"""From photographs with cameras to training batches."""
