"""The cameras of the shared scenario (`support.scenario`) other than those of `support.scenario_faults`."""

import random
from dataclasses import replace
from fractions import Fraction

from districam_devkit.simcam import AudioConfig, Clip, Footage, Generated, SimCamera, Simulation, tone
from districam_devkit.simcam.clips import AccessUnit
from support import scenario_faults

SEGMENT_S = 4

# --- cameras whose pictures are checked, and unreadable ones

STEADY, DROPPED, B_FRAMES, DISABLED = "steady", "dropped", "b-frames", "disabled"
MALFORMED, PARTIAL, NOISE = "malformed", "partial", "noise"
UNREACHABLE, NOT_FOUND, NO_CREDENTIAL = "unreachable", "not-found", "no-credential"
UNREADABLE = (UNREACHABLE, NOT_FOUND, NO_CREDENTIAL)
SMALL = Generated(width=320, height=180, seconds=4, gop_s=1, bitrate=300_000, label="x")
SPS, PPS = bytes.fromhex("6742c01eda0280bfe584000003000400000300c83c58ba80"), bytes.fromhex("68ce0fc8")
SPS_OF_CHROMA_FORMAT_7 = bytes.fromhex("6764001e88ffffffff")


def make_noise_clip(*parameter_sets: bytes) -> Clip:
    """A clip of five seconds of 25 pictures a second whose slices are random bytes, with these parameter sets."""
    rng = random.Random(1)
    units = tuple(
        AccessUnit(
            ((b"\x65" if n % 25 == 0 else b"\x41") + rng.randbytes(300).replace(b"\0", b"\1"),),
            is_keyframe=n % 25 == 0,
            pts=n * 3600,
            dts=n * 3600,
        )
        for n in range(125)
    )
    return Clip("h264", parameter_sets, units, Fraction(25), 640, 360, 125 * 3600)


VIDEO_CAMERAS = [
    SimCamera(STEADY, replace(SMALL, width=640, height=360, gop_s=2, bitrate=600_000)),
    SimCamera(DROPPED, replace(SMALL, codec="hevc")),
    SimCamera(B_FRAMES, Footage("bikes")),
    SimCamera(DISABLED, SMALL),
    SimCamera(MALFORMED, make_noise_clip(SPS_OF_CHROMA_FORMAT_7, PPS)),
    SimCamera(PARTIAL, make_noise_clip(SPS)),
    SimCamera(NOISE, make_noise_clip(SPS, PPS)),
]


def unreadable_records(simulation: Simulation) -> dict[str, dict[str, object]]:
    """Records of cameras that cannot be recorded, by id: the fields other than id and name."""
    url = simulation.url(STEADY)
    return {
        UNREACHABLE: {"url": "rtsp://127.0.0.1:9/x"},
        NOT_FOUND: {"url": f"{url}-x"},
        NO_CREDENTIAL: {"url": url, "credential": "door"},
    }


# --- cameras with audio

AAC = AudioConfig(tone=tone("aac"))
NATIVE, FFMPEG, UNREPORTED, UDP, MUTED, AUDIO_LOSSY, LATE, TOO_LATE, REFUSED, AUDIO_DISABLED, ULAW, ALAW = (
    f"sound-{name}"
    for name in (
        *("native", "ffmpeg", "unreported", "udp", "muted", "lossy"),
        *("late", "too-late", "refused", "not-wanted", "ulaw", "alaw"),
    )
)
AUDIO_CONFIGS = {
    NATIVE: replace(AAC, units_per_packet=2),
    FFMPEG: replace(AAC, units_per_packet=2),
    UNREPORTED: replace(AAC, has_reports=False),
    **dict.fromkeys((UDP, MUTED, AUDIO_LOSSY, LATE, TOO_LATE, REFUSED, AUDIO_DISABLED), AAC),
    ULAW: AudioConfig(tone=tone("pcm_mulaw", 8000)),
    ALAW: AudioConfig(tone=tone("pcm_alaw", 8000)),
}
PLAYED_AUDIO = [NATIVE, MUTED, TOO_LATE, ULAW]
AUDIO_CAMERAS = [SimCamera(camera_id, SMALL, audio=config) for camera_id, config in AUDIO_CONFIGS.items()]

# --- cameras that keep playing while ingest is stopped

STOPPED, STOPPED_B_FRAMES = "stopped", "stopped-b-frames"
LONG_RUNNING_CAMERAS = [SimCamera(STOPPED, SMALL), SimCamera(STOPPED_B_FRAMES, replace(SMALL, b_frames=2))]

OPTIONS: dict[str, dict[str, object]] = {
    **scenario_faults.OPTIONS,
    FFMPEG: {"reader": "ffmpeg"},
    ALAW: {"reader": "ffmpeg"},
    UDP: {"transport": "udp"},
    AUDIO_DISABLED: {"audio": False},
}
"""Fields of the cameras' records other than id, name and URL, where they differ from the default or `SEGMENT_S`."""
