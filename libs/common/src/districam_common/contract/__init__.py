"""What is on the bus, in the bucket and in the index: names, values, records."""
