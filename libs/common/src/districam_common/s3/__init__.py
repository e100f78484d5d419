"""The object store: objects, versions, legal holds."""
