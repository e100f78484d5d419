"""Checks of this host's clock against the kernel and the Kafka brokers, and detection of stalls."""
