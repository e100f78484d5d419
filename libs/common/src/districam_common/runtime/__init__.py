"""What every service runs on: settings, logs, health, signals, retries."""
