"""Cameras that misbehave, each in one way and once for each RTSP reader, and what the ledger must say of each.

The bounds follow from `SETTINGS`, with which the whole pipeline runs in the shared scenario (`support.scenario`).
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from districam_devkit.pipeline import SETTLED_SOON
from districam_devkit.simcam import Fault, Generated, Manners, SimCamera, parse_fault
from districam_devkit.simcam.clips import ClipSource

FPS, GOP_S = 10, 2
LINGER_S, OPEN_S, SILENCE_S, RETRY_FIRST_S, RETRY_MOST_S, SEGMENT_MAX_S = 1, 3, 4, 0.5, 2, 8
FRAGMENT_MAX_S = 2
"""The default."""
SETTINGS = {
    **SETTLED_SOON,
    "DISTRICAM_INGEST__LINGER_S": str(LINGER_S),
    "DISTRICAM_INGEST__OPEN_S": str(OPEN_S),
    "DISTRICAM_INGEST__SILENCE_S": str(SILENCE_S),
    "DISTRICAM_INGEST__RETRY_FIRST_S": str(RETRY_FIRST_S),
    "DISTRICAM_INGEST__RETRY_MOST_S": str(RETRY_MOST_S),
    "DISTRICAM_INGEST__SEGMENT_MAX_S": str(SEGMENT_MAX_S),
    "DISTRICAM_INGEST__G711_AS_AAC": "true",
}
SLACK_S = 2.0
"""Opening a stream, and a loaded machine."""
AT_S = 14.4
"""Cameras begin with a keyframe and have one every other second: a fault strikes soon after one."""
CLIP = Generated(width=320, height=180, fps=FPS, seconds=4, gop_s=GOP_S, bitrate=150_000, label="x")
LARGER = replace(CLIP, width=400, height=224)
HEVC = replace(CLIP, codec="hevc", width=320, height=192)
MINUTE = replace(CLIP, width=160, height=96, seconds=60, gop_s=60, bitrate=60_000)
LONG_GOP, KEYFRAME_AT_S, STEADY_UDP = "long-gop", 18, "steady-udp"
RtspReader = Literal["native", "ffmpeg"]
READERS: tuple[RtspReader, ...] = ("native", "ffmpeg")


@dataclass(frozen=True)
class Trial:
    """A camera's fault, and what the ledger shall say of the camera.

    Attributes:
        fault: as `parse_fault` reads it, without the camera.
        cause: of its gaps; None: it has none.
        least_s, most_s: of gap, in all.
        epochs: how many at least.
        reconnects: whether another connection is made; else the stream goes on in the first one.
        theirs, theirs_more_s: the cause that libavformat makes of it, where that is another, and how much longer it takes.
        readers: who is tried: with loss the one that notices it.
    """

    fault: str = ""
    cause: str | None = None
    least_s: float = 0.0
    most_s: float = 0.0
    epochs: int = 2
    reconnects: bool = False
    other: ClipSource | None = None
    theirs: str | None = None
    theirs_more_s: float = 0.0
    readers: tuple[RtspReader, ...] = READERS
    transport: Literal["tcp", "udp"] = "tcp"
    manners: Manners = field(default_factory=Manners)

    def longest_s(self, reader: RtspReader) -> float:
        return self.most_s + (self.theirs_more_s if reader == "ffmpeg" else 0)

    def causes(self, reader: RtspReader) -> set[str | None]:
        return {self.theirs if reader == "ffmpeg" and self.theirs else self.cause}


BACK_S = GOP_S + SLACK_S
"""Until the next keyframe."""
RETRIED_S = RETRY_FIRST_S + BACK_S
REFUSED_S = 9
TRIALS = {
    "drop": Trial(f"@{AT_S}", "camera_unreachable", most_s=RETRIED_S, reconnects=True),
    # The deadline passes within the silence; whoever waits for the next attempt when it ends waits that long.
    "silence": Trial(f"@{AT_S}+9", "source_silent", 8.5, 9 + RETRY_MOST_S + BACK_S, reconnects=True),
    "freeze": Trial(f"@{AT_S}+3", "source_silent", 2.5, 3 + BACK_S),
    "stall": Trial(f"@{AT_S}+3", "stream_error", 2.5, 3 + BACK_S),
    "forward": Trial(f"@{AT_S}+60", "stream_error", most_s=BACK_S),
    "back": Trial(f"@{AT_S}+60", "stream_error", most_s=BACK_S),
    "repeat": Trial(f"@{AT_S}+3", epochs=1),
    # A keyframe amid it makes an epoch of a single picture.
    "stuck": Trial(f"@{AT_S}+3", "stream_error", 2.0, 3 + BACK_S, epochs=3),
    "size": Trial(f"@{AT_S}", other=LARGER),
    "codec": Trial(f"@{AT_S}", "camera_unreachable", most_s=RETRIED_S, reconnects=True, other=HEVC),
    "401": Trial(f"@0+{REFUSED_S}", "auth_failed", 2, REFUSED_S + RETRY_MOST_S + BACK_S, epochs=1),
    "404": Trial(f"@0+{REFUSED_S}", "not_found", 2, REFUSED_S + RETRY_MOST_S + BACK_S, epochs=1),
    "503": Trial(f"@0+{REFUSED_S}", "camera_unreachable", 2, REFUSED_S + RETRY_MOST_S + BACK_S, epochs=1),
    "garbage": Trial(f"@{AT_S}+1", "stream_error", 0.9, 1 + BACK_S),
    # libavformat looks for the next packet until its deadline.
    "babble": Trial(
        f"@{AT_S}+0.5",
        "stream_error",
        0.3,
        0.5 + RETRY_MOST_S + RETRIED_S,
        reconnects=True,
        theirs="source_silent",
        theirs_more_s=SILENCE_S,
    ),
    "453": Trial(f"@0+{REFUSED_S}", "camera_unreachable", 2, REFUSED_S + RETRY_MOST_S + BACK_S, epochs=1),
    # libavformat tells 454 from no other refusal.
    "454": Trial(
        f"@0+{REFUSED_S}",
        "not_found",
        2,
        REFUSED_S + RETRY_MOST_S + BACK_S,
        epochs=1,
        theirs="camera_unreachable",
    ),
    "drip": Trial(
        f"@0+{REFUSED_S}",
        "source_silent",
        2,
        REFUSED_S + OPEN_S + RETRY_MOST_S + BACK_S,
        epochs=1,
    ),
    "redirect": Trial("@0+60", epochs=1),
    "ahead": Trial(f"@{AT_S}+3600", epochs=1),
    "behind": Trial(f"@{AT_S}+7200", epochs=1),
    "drift": Trial("@5+25%5", epochs=1),
    "lose": Trial("@5+25%1", epochs=1, readers=("native",)),
    "udp-lose": Trial("@5+25%1", epochs=1, readers=("native",), transport="udp"),
    "udp-reorder": Trial("@5+25%20", epochs=1, readers=("native",), transport="udp"),
    "udp-drop": Trial(f"@{AT_S}", "camera_unreachable", most_s=RETRIED_S, reconnects=True, transport="udp"),
    "udp-alone": Trial(epochs=1, readers=("native",), manners=Manners(carriers=("udp",))),
    "one-client": Trial(epochs=1, manners=Manners(clients_most=1)),
}
KINDS = {"size": "change", "codec": "change"}
LOSSY = ("lose", "udp-lose")
CASES: list[tuple[str, RtspReader]] = [
    (name, reader) for name, trial in TRIALS.items() for reader in trial.readers
]


def faulty(name: str, reader: RtspReader = "native") -> str:
    """The camera's id."""
    return f"camera-{name}-{reader}"


def _fault(name: str, reader: RtspReader) -> Fault:
    kind = KINDS.get(name, name.removeprefix("udp-"))
    return parse_fault(f"{kind}:{faulty(name, reader)}{TRIALS[name].fault}")


CAMERAS = [
    *(
        SimCamera(faulty(name, reader), CLIP, other=trial.other, begins_s=0, manners=trial.manners)
        for name, reader in CASES
        for trial in [TRIALS[name]]
    ),
    SimCamera(LONG_GOP, MINUTE, begins_s=60 - KEYFRAME_AT_S),
    SimCamera(STEADY_UDP, CLIP),
]
FAULTS = [_fault(name, reader) for name, reader in CASES if TRIALS[name].fault]
OPTIONS: dict[str, dict[str, object]] = {
    STEADY_UDP: {"transport": "udp"},
    **{
        faulty(name, reader): {"reader": reader, "transport": TRIALS[name].transport}
        for name, reader in CASES
    },
}
"""Fields of the cameras' records beside id, name and URL."""
