"""The object store (S3): objects, versions, object lock, legal holds."""
