"""What a simulated camera supports, and how it deviates from the RFCs.

docs/cameras.md lists for each quirk the cameras that have it, the source, and how ingest handles it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

LowerTransport = Literal["tcp", "udp"]

BaseQuirk = Literal["no-base", "bare-base", "foreign-base", "schemeless-base", "double-scheme-base", "ipv6-base"]
"""Quirks of the `Content-Base` header of the DESCRIBE response."""
DescriptionQuirk = Literal[
    "absolute-control",
    "query-control",
    "slash-control",
    "double-scheme-control",
    "no-session-control",
    "metadata-track",
    "vendor-track",
    "audio-first",
    "line-feeds",
    "no-origin",
    "bare-connection",
    "media-alone",
    "no-parameter-sets",
    "empty-parameter-sets",
    "annexb-parameter-sets",
    "padded-parameter-sets",
    "fmtp-elsewhere",
    "empty-fmtp",
    "packetization-mode-0",
    "no-packetization-mode",
    "payload-type-35",
]
"""Quirks of the session description (SDP)."""
ResponseQuirk = Literal[
    "no-timeout",
    "short-timeout",
    "bare-line-ends",
    "low-names",
    "trailing-blanks",
    "blank-line",
    "empty-header",
    "no-reason",
    "no-content-type",
    "no-cseq",
    "zero-cseq",
    "late-cseq",
    "session-blanks",
    "late-session",
    "changing-session",
    "no-get-parameter",
    "get-parameter-refused",
    "no-keep-alive-response",
    "own-requests",
    "early-media",
    "stale-session",
]
"""Quirks of RTSP responses."""
TransportQuirk = Literal[
    "no-channels", "other-channels", "addresses", "ssrc-first", "ssrc-blank", "wrong-ssrc", "low-transport"
]
"""Quirks of the `Transport` header of the SETUP response."""
AuthQuirk = Literal["options-401", "terse-challenge", "basic-refused", "short-nonce"]
PayloadQuirk = Literal[
    "annexb-payload",
    "aggregated",
    "single-fragments",
    "empty-fragments",
    "empty-packets",
    "wrong-fragment-types",
    "reserved-bit",
    "no-end-bits",
    "private-units",
    "delimiters",
    "trailing-sei",
]
"""Quirks of how NAL units are put into RTP payloads."""
PacketQuirk = Literal[
    "unmarked",
    "all-marked",
    "marked-units",
    "early-sets",
    "padding",
    "extension",
    "payload-type-50",
    "stray-channel",
    "stray-bytes",
]
"""Quirks of RTP packets, and of what is sent between them."""
ReportQuirk = Literal["unset-clock", "foreign-report", "no-sdes-end", "short-report"]
"""Quirks of RTCP."""
Quirk = Literal[
    BaseQuirk, DescriptionQuirk, ResponseQuirk, TransportQuirk, AuthQuirk, PayloadQuirk, PacketQuirk, ReportQuirk
]
QUIRKS: Final[tuple[Quirk, ...]] = get_args(Quirk)

QUIRKS_BY_MAKE: Final[Mapping[str, frozenset[Quirk]]] = {
    "anjvision": frozenset({"schemeless-base", "packetization-mode-0"}),
    "axis": frozenset({"short-nonce", "session-blanks", "stray-bytes"}),
    "bosch": frozenset({"absolute-control", "query-control", "payload-type-35", "options-401"}),
    "dahua": frozenset({"metadata-track", "padded-parameter-sets", "empty-header", "options-401", "terse-challenge"}),
    "ezviz": frozenset({"absolute-control", "empty-parameter-sets", "terse-challenge"}),
    "foscam": frozenset({"zero-cseq", "low-names"}),
    "hanwha": frozenset({"bare-base", "no-origin", "no-session-control", "no-sdes-end"}),
    "hikvision": frozenset({"absolute-control", "query-control", "metadata-track", "session-blanks", "ssrc-blank"}),
    "reolink": frozenset({"addresses", "no-timeout", "early-sets", "stale-session"}),
    "tp-link": frozenset(
        {
            "vendor-track",
            "no-session-control",
            "short-timeout",
            "late-cseq",
            "basic-refused",
            "foreign-report",
            "trailing-sei",
        }
    ),
    "ubiquiti": frozenset({"audio-first", "empty-fmtp"}),
    "uniview": frozenset(
        {
            "absolute-control",
            "no-session-control",
            "bare-connection",
            "metadata-track",
            "terse-challenge",
            "payload-type-50",
        }
    ),
    "v380": frozenset({"annexb-payload", "no-origin"}),
    "vstarcam": frozenset({"no-session-control", "trailing-blanks", "private-units"}),
    "xiongmai": frozenset({"bare-base", "foreign-base", "trailing-blanks", "changing-session"}),
}
"""The union of quirks reported for any model of a make."""


@dataclass(frozen=True, slots=True)
class CameraBehavior:
    """What a camera supports, and its quirks.

    Attributes:
        carriers: lower transports that SETUP accepts; others get 461.
        clients_most: clients at a time; further ones get 453.
        quirks: see docs/cameras.md.
    """

    carriers: tuple[LowerTransport, ...] = ("tcp", "udp")
    clients_most: int | None = None
    quirks: frozenset[Quirk] = frozenset()
