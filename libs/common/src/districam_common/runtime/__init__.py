"""Common to all services: settings, logs, health, signals, retries."""
