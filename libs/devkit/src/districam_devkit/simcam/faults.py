"""Faults that the simulated cameras can be told to have.

A new kind needs a word here, a method on the simulation, and its line in `Simulation.inject`.
"""

import random
import re
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from districam_devkit.simcam.attacks import Attack

InstantFault = Literal["drop", "change"]
TimedFault = Literal["silence", "freeze", "stall", "repeat", "stuck", "garbage", "babble", "redirect", "drip", Attack]
RateFault = Literal["lose", "reorder", "drift"]
ClockJumpFault = Literal["forward", "back", "ahead", "behind"]
StatusFault = Literal["401", "404", "453", "454", "503"]
FaultKind = Literal[InstantFault, TimedFault, RateFault, ClockJumpFault, StatusFault]

INSTANT_FAULTS: Final = frozenset(cast("tuple[str, ...]", get_args(InstantFault)))
TIMED_FAULTS: Final[frozenset[TimedFault]] = frozenset(get_args(TimedFault))
RATE_FAULTS: Final[frozenset[RateFault]] = frozenset(get_args(RateFault))
ATTACKS: Final = frozenset(cast("tuple[str, ...]", get_args(Attack)))
CLOCK_JUMP_FAULTS: Final[frozenset[ClockJumpFault]] = frozenset(get_args(ClockJumpFault))
KINDS: Final = tuple(cast("tuple[str, ...]", get_args(FaultKind)))

_FORM = re.compile(r"^(\w+):([a-z0-9][a-z0-9-]{0,62})@(\d+(?:\.\d+)?)(?:\+(\d+(?:\.\d+)?))?(?:%(\d+(?:\.\d+)?))?$")


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` befalls the camera `at_s` seconds after the simulation's start, for `for_s` seconds if it lasts.

    drop: its connections end at once; it can be connected to again at once.
    change: it plays its other clip from the next picture on; if the codec is another, its connections end.
    silence: connections stay and requests are answered, but no RTP or RTCP is sent.
    freeze: no pictures, but RTCP goes on; then the timestamps show the pause.
    stall: no pictures either, and the timestamps go on as if nothing had been.
    forward, back: from the next picture on timestamps are so many seconds later, or earlier.
    repeat: every access unit is sent twice, its packets numbered on.
    stuck: timestamps stand still; then they are what they would have been.
    garbage: RTP payloads are random bytes that no NAL unit begins with.
    babble: instead of packets come as many bytes of neither RTP nor RTSP.
    redirect: who asks for a description is sent to another path of the same camera.
    drip: responses leave a byte at a time, too slowly to be of use; what is playing goes on.
    lose: so many per cent of the RTP packets are numbered and never sent.
    reorder: so many per cent of the RTP packets leave behind the next two; over TCP none.
    drift: the camera's wall clock (sender reports) runs so many per cent fast, and stays where that led it.
    ahead, behind: from the next sender report on, sent at once, the wall clock is so many seconds off; media time is not.

    Attacks; connections end when one begins, so that the next one meets it from its first word on:
    banner: `Server` is of 3,900 characters, and of more kinds than print.
    headers: it asks for a password with a header of 60 kB.
    endless, length: header lines, or a body of 2 GB, without end.
    astray: whoever asks for a description is sent to another host.
    downgrade: it asks for Digest, and in the middle of the conversation for Basic.
    epochs: each picture is a keyframe with other parameter sets.
    late: timestamps do not show that the encoder has paused, and much comes behind it.
    exploding, vast: pictures say that they are of 16,000 by 16,000, or 8,192 by 4,320.
    units: 250,000 NAL units a picture.
    crumbs, confetti: RTP packets of a byte or two, thousands a picture's time; each a picture.
    unending: a NAL unit in pieces that never ends.
    reports: sender reports by thousands, whatever they say.

    401, 404, 453, 454, 503: connections end, and requests but OPTIONS are answered so.

    Attributes:
        percent: of the kinds that have a rate.
    """

    kind: FaultKind
    camera_id: str
    at_s: float
    for_s: float = 0.0
    percent: float = 0.0


def parse_fault(text: str) -> Fault:
    """`drop:cam-001@20`, `silence:cam-002@20+5` or `lose:cam-003@20+5%1`; raises ValueError."""
    match = _FORM.match(text)
    if match is None or match[1] not in KINDS:
        raise ValueError(
            f"{text!r} is no fault: write KIND:CAMERA@SECONDS, KIND:CAMERA@SECONDS+SECONDS or KIND:CAMERA@SECONDS+SECONDS%PERCENT,"
            f" KIND one of {', '.join(KINDS)}"
        )
    kind, camera_id, at_s, for_s, percent = match.groups()
    if (kind in INSTANT_FAULTS) == (for_s is not None):
        raise ValueError(f"{text!r}: a {kind} {'has no' if kind in INSTANT_FAULTS else 'needs a'} length (+SECONDS)")
    if (kind in RATE_FAULTS) != (percent is not None) or float(percent or 0) > 100:
        raise ValueError(f"{text!r}: a {kind} {'needs a' if kind in RATE_FAULTS else 'has no'} rate (%0 to %100)")
    return Fault(cast("FaultKind", kind), camera_id, float(at_s), float(for_s or 0), float(percent or 0))


def random_payload(payload: bytes, rng: random.Random) -> bytes:
    """As many bytes, the first with the bit set that no NAL unit of H.264 or H.265 may have set."""
    return (bytes([0x80 | rng.randrange(1, 24), 1]) + rng.randbytes(len(payload)))[: len(payload)]


def random_bytes(packet: bytes, rng: random.Random) -> bytes:
    """As many bytes without `$` or the end of a line: neither a packet nor a response begins or ends in them."""
    return bytes(byte | 0x80 for byte in rng.randbytes(len(packet)))
