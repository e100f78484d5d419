"""Ingest's output: MP4 fragments, stills and events, sent to Kafka."""
