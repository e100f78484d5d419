"""The ledger: which instants of a camera are stored, and the cause of each gap. Pure functions."""
