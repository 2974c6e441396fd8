"""What parts of objects are: label heads on a trained class, learned from a few label maps."""
