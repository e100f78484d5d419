"""Readers of RTSP streams: our own, and FFmpeg's."""
