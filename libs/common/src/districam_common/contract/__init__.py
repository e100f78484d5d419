"""The contract of topics, bucket and index: names, values, encoding of records."""
