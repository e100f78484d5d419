"""What a camera's pictures become: epochs, fragments and events."""
