"""Cameras with one fault each, once for each RTSP reader, and the expected timeline of each.

The limits follow from `SETTINGS`, which the shared scenario (`support.scenario`) uses.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from districam_devkit.pipeline import FAST_SETTLE_SETTINGS
from districam_devkit.simcam import CameraBehavior, Fault, Generated, SimCamera, parse_fault
from districam_devkit.simcam.clips import ClipSource

FPS, GOP_S = 10, 2
LINGER_S, OPEN_S, SILENCE_S, MIN_RETRY_S, MAX_RETRY_S, SEGMENT_MAX_S = 1, 3, 4, 0.5, 2, 8
FRAGMENT_MAX_S = 2
"""The default."""
SETTINGS = {
    **FAST_SETTLE_SETTINGS,
    "DISTRICAM_INGEST__LINGER_S": str(LINGER_S),
    "DISTRICAM_INGEST__OPEN_S": str(OPEN_S),
    "DISTRICAM_INGEST__SILENCE_S": str(SILENCE_S),
    "DISTRICAM_INGEST__RETRY_FIRST_S": str(MIN_RETRY_S),
    "DISTRICAM_INGEST__RETRY_MOST_S": str(MAX_RETRY_S),
    "DISTRICAM_INGEST__SEGMENT_MAX_S": str(SEGMENT_MAX_S),
    "DISTRICAM_INGEST__G711_AS_AAC": "true",
}
SLACK_S = 2.0
"""Time to open a stream on a loaded machine."""
FAULT_AT_S = 14.4
"""Cameras start with a keyframe and have one every two seconds: a fault starts soon after one."""
CLIP = Generated(width=320, height=180, fps=FPS, seconds=4, gop_s=GOP_S, bitrate=150_000, label="x")
LARGER = replace(CLIP, width=400, height=224)
HEVC = replace(CLIP, codec="hevc", width=320, height=192)
MINUTE = replace(CLIP, width=160, height=96, seconds=60, gop_s=60, bitrate=60_000)
LONG_GOP, KEYFRAME_AT_S, STEADY_UDP = "long-gop", 18, "steady-udp"
RtspReader = Literal["native", "ffmpeg"]
READERS: tuple[RtspReader, ...] = ("native", "ffmpeg")


@dataclass(frozen=True)
class FaultCase:
    """A camera's fault and the expected result.

    Attributes:
        fault: in the notation of `parse_fault`, without the camera.
        cause: of its gaps; None: it has none.
        least_s, most_s: limits of the total gap.
        min_epochs: minimum number of epochs.
        reconnects: whether a new connection is made; else the stream continues on the first one.
        theirs, theirs_more_s: the cause with libavformat's reader if it differs, and the additional time.
        readers: the readers to test: for packet loss only the one that notices it.
    """

    fault: str = ""
    cause: str | None = None
    min_gap_s: float = 0.0
    max_gap_s: float = 0.0
    min_epochs: int = 2
    reconnects: bool = False
    other_clip: ClipSource | None = None
    libav_cause: str | None = None
    libav_extra_s: float = 0.0
    readers: tuple[RtspReader, ...] = READERS
    transport: Literal["tcp", "udp"] = "tcp"
    behavior: CameraBehavior = field(default_factory=CameraBehavior)

    def max_gap_with(self, reader: RtspReader) -> float:
        return self.max_gap_s + (self.libav_extra_s if reader == "ffmpeg" else 0)

    def expected_causes(self, reader: RtspReader) -> set[str | None]:
        return {self.libav_cause if reader == "ffmpeg" and self.libav_cause else self.cause}


KEYFRAME_WAIT_S = GOP_S + SLACK_S
"""Time until the next keyframe."""
RECONNECT_S = MIN_RETRY_S + KEYFRAME_WAIT_S
REFUSED_S = 9
FAULT_CASES = {
    "drop": FaultCase(f"@{FAULT_AT_S}", "camera_unreachable", max_gap_s=RECONNECT_S, reconnects=True),
    # The deadline passes during the silence; then a pending reconnect may delay the recovery by the whole backoff.
    "silence": FaultCase(f"@{FAULT_AT_S}+9", "source_silent", 8.5, 9 + MAX_RETRY_S + KEYFRAME_WAIT_S, reconnects=True),
    "freeze": FaultCase(f"@{FAULT_AT_S}+3", "source_silent", 2.5, 3 + KEYFRAME_WAIT_S),
    "stall": FaultCase(f"@{FAULT_AT_S}+3", "stream_error", 2.5, 3 + KEYFRAME_WAIT_S),
    "forward": FaultCase(f"@{FAULT_AT_S}+60", "stream_error", max_gap_s=KEYFRAME_WAIT_S),
    "back": FaultCase(f"@{FAULT_AT_S}+60", "stream_error", max_gap_s=KEYFRAME_WAIT_S),
    "repeat": FaultCase(f"@{FAULT_AT_S}+3", min_epochs=1),
    # A keyframe during the fault makes an epoch of a single picture.
    "stuck": FaultCase(f"@{FAULT_AT_S}+3", "stream_error", 2.0, 3 + KEYFRAME_WAIT_S, min_epochs=3),
    "size": FaultCase(f"@{FAULT_AT_S}", other_clip=LARGER),
    "codec": FaultCase(f"@{FAULT_AT_S}", "camera_unreachable", max_gap_s=RECONNECT_S, reconnects=True, other_clip=HEVC),
    "401": FaultCase(f"@0+{REFUSED_S}", "auth_failed", 2, REFUSED_S + MAX_RETRY_S + KEYFRAME_WAIT_S, min_epochs=1),
    "404": FaultCase(f"@0+{REFUSED_S}", "not_found", 2, REFUSED_S + MAX_RETRY_S + KEYFRAME_WAIT_S, min_epochs=1),
    "503": FaultCase(
        f"@0+{REFUSED_S}", "camera_unreachable", 2, REFUSED_S + MAX_RETRY_S + KEYFRAME_WAIT_S, min_epochs=1
    ),
    "garbage": FaultCase(f"@{FAULT_AT_S}+1", "stream_error", 0.9, 1 + KEYFRAME_WAIT_S),
    # libavformat waits for the next packet until its deadline.
    "babble": FaultCase(
        f"@{FAULT_AT_S}+0.5",
        "stream_error",
        0.3,
        0.5 + MAX_RETRY_S + RECONNECT_S,
        reconnects=True,
        libav_cause="source_silent",
        libav_extra_s=SILENCE_S,
    ),
    "453": FaultCase(
        f"@0+{REFUSED_S}", "camera_unreachable", 2, REFUSED_S + MAX_RETRY_S + KEYFRAME_WAIT_S, min_epochs=1
    ),
    # libavformat does not distinguish 454 from other errors.
    "454": FaultCase(
        f"@0+{REFUSED_S}",
        "not_found",
        2,
        REFUSED_S + MAX_RETRY_S + KEYFRAME_WAIT_S,
        min_epochs=1,
        libav_cause="camera_unreachable",
    ),
    "drip": FaultCase(
        f"@0+{REFUSED_S}", "source_silent", 2, REFUSED_S + OPEN_S + MAX_RETRY_S + KEYFRAME_WAIT_S, min_epochs=1
    ),
    "redirect": FaultCase("@0+60", min_epochs=1),
    "ahead": FaultCase(f"@{FAULT_AT_S}+3600", min_epochs=1),
    "behind": FaultCase(f"@{FAULT_AT_S}+7200", min_epochs=1),
    "drift": FaultCase("@5+25%5", min_epochs=1),
    "lose": FaultCase("@5+25%1", min_epochs=1, readers=("native",)),
    "udp-lose": FaultCase("@5+25%1", min_epochs=1, readers=("native",), transport="udp"),
    "udp-reorder": FaultCase("@5+25%20", min_epochs=1, readers=("native",), transport="udp"),
    "udp-drop": FaultCase(
        f"@{FAULT_AT_S}", "camera_unreachable", max_gap_s=RECONNECT_S, reconnects=True, transport="udp"
    ),
    "udp-alone": FaultCase(min_epochs=1, readers=("native",), behavior=CameraBehavior(carriers=("udp",))),
    "one-client": FaultCase(min_epochs=1, behavior=CameraBehavior(clients_most=1)),
}
FAULT_KIND_BY_CASE = {"size": "change", "codec": "change"}
LOSSY_CASES = ("lose", "udp-lose")
CASES: list[tuple[str, RtspReader]] = [
    (name, reader) for name, trial in FAULT_CASES.items() for reader in trial.readers
]


def faulty_camera_id(name: str, reader: RtspReader = "native") -> str:
    return f"camera-{name}-{reader}"


def _fault(name: str, reader: RtspReader) -> Fault:
    kind = FAULT_KIND_BY_CASE.get(name, name.removeprefix("udp-"))
    return parse_fault(f"{kind}:{faulty_camera_id(name, reader)}{FAULT_CASES[name].fault}")


CAMERAS = [
    *(
        SimCamera(
            faulty_camera_id(name, reader), CLIP, other_clip=trial.other_clip, start_offset_s=0, behavior=trial.behavior
        )
        for name, reader in CASES
        for trial in [FAULT_CASES[name]]
    ),
    SimCamera(LONG_GOP, MINUTE, start_offset_s=60 - KEYFRAME_AT_S),
    SimCamera(STEADY_UDP, CLIP),
]
FAULTS = [_fault(name, reader) for name, reader in CASES if FAULT_CASES[name].fault]
OPTIONS: dict[str, dict[str, object]] = {
    STEADY_UDP: {"transport": "udp"},
    **{
        faulty_camera_id(name, reader): {"reader": reader, "transport": FAULT_CASES[name].transport}
        for name, reader in CASES
    },
}
"""Fields of the cameras' records other than id, name and URL."""
