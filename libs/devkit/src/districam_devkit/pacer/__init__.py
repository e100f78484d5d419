"""A load generator: many cameras that send one prebuilt clip, packet by packet on schedule. For faults see simcam."""
