"""Audio of stored fragments: its access units, and the simulated cameras' beeps found by decoding."""
# The type stubs of av leave the type argument of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import io
from dataclasses import dataclass

import av
import numpy as np

from districam_common.mp4 import boxes as mp4
from districam_devkit.simcam.tones import MIN_BEEP_HZ, STEP_HZ, Tone

BEEP_THRESHOLD = 0.1
WINDOW_S = 0.1


@dataclass(frozen=True, slots=True)
class StoredAudioUnit:
    """One audio access unit; times in seconds."""

    at_s: float
    until_s: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Beep:
    """Start of a beep, and its second (of eight) in the loop."""

    at_s: float
    second: int


def stored_audio_units(value: bytes) -> list[StoredAudioUnit]:
    """The audio of an init and any number of fragments, in their order."""
    (track,) = [one for one in mp4.tracks(mp4.init_of(value)) if not one.is_video]
    rate = track.timescale
    out: list[StoredAudioUnit] = []
    for data in fragments(value):
        if data.count(b"traf") > 1:
            found = mp4.samples(data, track)
            out += [
                StoredAudioUnit(s.dts / rate, (s.dts + s.duration) / rate, data[s.offset : s.offset + s.size])
                for s in found
            ]
    return out


def fragments(value: bytes) -> list[bytes]:
    """Each `moof` with its `mdat`."""
    found = [box for box in mp4.boxes(value) if box.kind in {"moof", "mdat"}]
    pairs = zip(found[::2], found[1::2], strict=True)
    return [value[moof.start : mdat.end] for moof, mdat in pairs]


def loop_positions(found: list[StoredAudioUnit], tone: Tone) -> list[int | None]:
    """Index in the loop of each unit; None for inserted silence. Raises KeyError for a unit that no camera sent."""
    by_data: dict[bytes, int | None] = {data: n for n, data in enumerate(tone.access_units)}
    by_data[bytes.fromhex("00000007")] = None
    return [by_data[unit.data] for unit in found]


def detect_beeps(value: bytes, start_s: float = 0.0) -> list[Beep]:
    """The beeps that a player would play; times relative to `start_s`."""
    samples, rate = _decoded(value, start_s)
    found: list[Beep] = []
    loud = np.flatnonzero(np.abs(samples) > BEEP_THRESHOLD)
    starts = [loud[0], *loud[1:][np.diff(loud) > rate // 2]] if loud.size else []
    for first in starts:
        window = samples[first : first + round(WINDOW_S * rate)]
        if window.size < round(WINDOW_S * rate):
            break
        spectrum = np.abs(np.fft.rfft(window * np.hanning(window.size), 8 * window.size))
        pitch = np.argmax(spectrum) * rate / (8 * window.size)
        found.append(Beep(first / rate, round((pitch - MIN_BEEP_HZ) / STEP_HZ)))
    return found


def _decoded(value: bytes, start_s: float) -> tuple[np.ndarray, int]:
    """Samples at their presentation times."""
    parts: list[tuple[int, np.ndarray]] = []
    with av.open(io.BytesIO(value), "r", format="mp4") as container:
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        for frame in container.decode(stream):
            assert frame.pts is not None
            assert frame.time_base is not None
            at_s = float(frame.pts * frame.time_base) - start_s
            parts.append((round(at_s * rate), frame.to_ndarray()[0]))
    out = np.zeros(max(at + len(part) for at, part in parts), np.float32)
    for at, part in parts:
        if at >= 0:
            out[at : at + len(part)] = part
    return out, rate
