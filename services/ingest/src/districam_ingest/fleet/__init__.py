"""Which cameras this replica reads, and one worker per camera."""
