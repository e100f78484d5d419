"""Turns a camera's pictures into epochs, fragments and events."""
