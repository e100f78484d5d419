"""What a person runs: topics, bucket, cameras."""
