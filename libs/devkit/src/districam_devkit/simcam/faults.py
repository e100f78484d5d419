"""Faults of simulated cameras.

A new kind needs its name here, a method on `Simulation`, and a line in `Simulation.inject`.
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
    """`kind` affects the camera `at_s` seconds after the simulation's start, for `for_s` seconds if it has a duration.

    drop: its connections are closed; clients can reconnect at once.
    change: it plays its other clip from the next picture on; if the codec differs, its connections are
    closed.
    silence: connections stay open and requests are answered, but no RTP or RTCP is sent.
    freeze: no pictures, but RTCP continues; the timestamps then include the pause.
    stall: no pictures either, and the timestamps continue without the pause.
    forward, back: from the next picture on, timestamps are this many seconds later, or earlier.
    repeat: every access unit is sent twice, with new sequence numbers.
    stuck: timestamps stay constant, then continue where they would have been.
    garbage: RTP payloads are random bytes that cannot start a NAL unit.
    babble: packets are replaced by as many bytes of neither RTP nor RTSP.
    redirect: DESCRIBE is redirected to another path of the same camera.
    drip: responses are sent byte by byte, too slowly to be useful; running streams continue.
    lose: this percentage of the RTP packets gets a sequence number and is never sent.
    reorder: this percentage of the RTP packets is sent after the next two; none over TCP.
    drift: the camera's wall clock (sender reports) runs fast by this percentage, and keeps the offset
    afterwards.
    ahead, behind: from the next sender report on, sent at once, the wall clock is off by this many seconds;
    media time is not.

    Attacks; connections are closed when one begins, so that clients meet it from the first response on:
    banner: `Server` has 3,900 characters, some of them not printable.
    headers: it asks for a password with a header of 60 kB.
    endless, length: header lines, or a body of 2 GB, without end.
    astray: DESCRIBE is redirected to another host.
    downgrade: it asks for Digest, and later on the same connection for Basic.
    epochs: each picture is a keyframe with other parameter sets.
    late: timestamps do not show an encoder pause, and much data follows it.
    exploding, vast: the SPS announces 16,000 by 16,000, or 8,192 by 4,320.
    units: 250,000 NAL units per picture.
    crumbs, confetti: RTP packets of one or two bytes, thousands in a picture's time; confetti: each a
    picture.
    unending: a fragmented NAL unit that never ends.
    reports: thousands of sender reports with random contents.

    401, 404, 453, 454, 503: connections are closed, and requests except OPTIONS get this status.

    Attributes:
        percent: of the kinds that have a rate.
    """

    kind: FaultKind
    camera_id: str
    at_s: float
    for_s: float = 0.0
    percent: float = 0.0


def parse_fault(text: str) -> Fault:
    """Parses `drop:cam-001@20`, `silence:cam-002@20+5` or `lose:cam-003@20+5%1`; raises ValueError."""
    match = _FORM.match(text)
    if match is None or match[1] not in KINDS:
        raise ValueError(
            f"{text!r} is not a fault. Use KIND:CAMERA@SECONDS, KIND:CAMERA@SECONDS+SECONDS or KIND:CAMERA@SECONDS+SECONDS%PERCENT,"
            f" where KIND is one of {', '.join(KINDS)}"
        )
    kind, camera_id, at_s, for_s, percent = match.groups()
    if (kind in INSTANT_FAULTS) == (for_s is not None):
        raise ValueError(f"{text!r}: a {kind} {'has no' if kind in INSTANT_FAULTS else 'needs a'} duration (+SECONDS)")
    if (kind in RATE_FAULTS) != (percent is not None) or float(percent or 0) > 100:
        raise ValueError(f"{text!r}: a {kind} {'needs a' if kind in RATE_FAULTS else 'has no'} rate (%0 to %100)")
    return Fault(cast("FaultKind", kind), camera_id, float(at_s), float(for_s or 0), float(percent or 0))


def random_payload(payload: bytes, rng: random.Random) -> bytes:
    """Returns as many random bytes, the first with forbidden_zero_bit set (H.264 7.3.1, H.265 7.3.1.2)."""
    return (bytes([0x80 | rng.randrange(1, 24), 1]) + rng.randbytes(len(payload)))[: len(payload)]


def random_bytes(packet: bytes, rng: random.Random) -> bytes:
    """Returns as many random bytes without `$` or line ends: no packet or response can start or end in them."""
    return bytes(byte | 0x80 for byte in rng.randbytes(len(packet)))
