"""RTSP and RTP as a client speaks them, without I/O: bytes in, bytes and pictures out. Bounded in memory, whoever talks."""
