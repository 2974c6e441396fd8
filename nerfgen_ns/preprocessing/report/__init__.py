"""Reports and warnings about a prepared folder."""
