"""Fragmented MP4 as it is stored (ISO/IEC 14496-12)."""
