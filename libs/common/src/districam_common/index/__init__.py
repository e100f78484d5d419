"""Reads the index in Redis."""
