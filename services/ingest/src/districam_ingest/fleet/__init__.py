"""Which cameras this replica reads, and the life of each."""
