"""What ingest decides: cuts, time, epochs. No I/O, no clock."""
