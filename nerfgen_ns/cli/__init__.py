"""The commands of `nerfgen`."""
