"""Pulls cameras' RTSP streams and publishes fragments, stills and stream events."""
