"""Parsers of H.264, H.265 and AAC configuration, and the writers of avcC and hvcC."""
