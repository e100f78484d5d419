"""What leaves ingest: MP4 fragments, stills and events, sent to Kafka."""
