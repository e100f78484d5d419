"""Why each second of a camera is stored or not. Pure."""
