"""RTSP and RTP client without I/O: bytes in, bytes and pictures out. Memory is bounded for any input."""
