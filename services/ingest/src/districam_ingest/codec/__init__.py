"""What H.264, H.265 and AAC bitstreams say of themselves: bytes in, values out."""
