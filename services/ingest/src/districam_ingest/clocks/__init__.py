"""This host's clock, checked against the kernel and against the brokers."""
