"""Checks of media files with ffmpeg and ffprobe."""

import json
import subprocess
from pathlib import Path
from typing import Any


def decode_without_warnings(file: Path) -> float:
    """Asserts that ffmpeg decodes the file silently and each track's timestamps rise; returns its duration in s."""
    words = ["ffmpeg", "-nostdin", "-v", "warning", "-xerror", "-i", str(file), "-f", "null", "-"]
    result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
    shown = _probed(file, "format=duration:packet=stream_index,dts_time")
    for index in {packet["stream_index"] for packet in shown["packets"]}:
        times = [float(p["dts_time"]) for p in shown["packets"] if p["stream_index"] == index]
        assert times == sorted(set(times))
        assert times[0] >= 0
    return float(shown["format"]["duration"])


def _probed(file: Path, entries: str) -> dict[str, Any]:
    words = ["ffprobe", "-v", "warning", "-of", "json", "-show_entries", entries, str(file)]
    result = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert result.stderr == ""
    return json.loads(result.stdout)
