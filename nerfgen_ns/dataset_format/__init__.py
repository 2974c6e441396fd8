"""transforms.json: its one schema, reader and writer."""
