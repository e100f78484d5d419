"""The index in Redis, for reading."""
