"""The administration commands: districam-topics, districam-bucket, districam-cameras."""
