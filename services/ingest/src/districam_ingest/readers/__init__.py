"""Readers of RTSP streams: the native one, and one that uses FFmpeg."""
