"""What a person is told of a prepared folder."""
