"""What a simulated camera allows, and the ways in which real ones answer otherwise than the RFCs would have it."""

from dataclasses import dataclass
from typing import Literal

Carrier = Literal["tcp", "udp"]
Quirk = Literal[
    "no-base",
    "bare-base",
    "foreign-base",
    "absolute-control",
    "no-session-control",
    "no-timeout",
    "bare-line-ends",
    "low-names",
    "unmarked",
    "all-marked",
]


@dataclass(frozen=True, slots=True)
class Manners:
    """Quirks: no-base, bare-base, foreign-base: without `Content-Base`, with one that lacks its slash, with that of another host.

    absolute-control: media have whole URLs; no-session-control: the session has none; no-timeout: sessions tell none;
    bare-line-ends, low-names: headers end with a line feed alone, have lower-case names; unmarked, all-marked: no
    packet is marked as a picture's last, or each is.

    Attributes:
        carriers: others are answered with 461.
        clients_most: who comes later is answered with 453.
    """

    carriers: tuple[Carrier, ...] = ("tcp", "udp")
    clients_most: int | None = None
    quirks: frozenset[Quirk] = frozenset()
