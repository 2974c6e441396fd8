"""Pictures of what a model shows."""
