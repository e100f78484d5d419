"""A clip as RTP payloads, into which the running number is inserted when sending."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from districam_devkit.bitstream import RunningNumber, first_slice, insert_sei, running_number_sei
from districam_devkit.simcam import rtp, rtp_quirks
from districam_devkit.simcam.behavior import PayloadQuirk
from districam_devkit.simcam.clips import AccessUnit, Clip

_PAYLOAD_QUIRKS: Final[frozenset[str]] = frozenset(get_args(PayloadQuirk))


@dataclass(frozen=True, slots=True)
class PacketizedUnit:
    """RTP payloads of an access unit before and after the position of the running number."""

    before: tuple[bytes, ...]
    after: tuple[bytes, ...]
    is_keyframe: bool


@dataclass(frozen=True, slots=True)
class PacketizedClip:
    """RTP payloads of a clip; can be shared by any number of cameras."""

    clip: Clip
    units: Sequence[PacketizedUnit]

    def payloads(self, index: int, running: RunningNumber, quirks: Collection[str] = ()) -> list[bytes]:
        """Returns the RTP payloads of one access unit with its running number."""
        codec, unit = self.clip.codec, self.units[index]
        sei = running_number_sei(codec, running)
        if _PAYLOAD_QUIRKS.isdisjoint(quirks):
            return [*unit.before, sei, *unit.after]
        nals = insert_sei(codec, _nals(self.clip, self.clip.access_units[index]), sei)
        return rtp_quirks.payloads(codec, nals, quirks)


def packetize(clip: Clip) -> PacketizedClip:
    """Packetizes a clip, with parameter sets before each keyframe."""
    return PacketizedClip(clip, [_prepare(clip, unit) for unit in clip.access_units])


def _prepare(clip: Clip, unit: AccessUnit) -> PacketizedUnit:
    nals = _nals(clip, unit)
    sei_index = first_slice(clip.codec, nals)
    return PacketizedUnit(
        tuple(rtp.payloads(clip.codec, nals[:sei_index])),
        tuple(rtp.payloads(clip.codec, nals[sei_index:])),
        unit.is_keyframe,
    )


def _nals(clip: Clip, unit: AccessUnit) -> list[bytes]:
    return [*clip.parameter_sets, *unit.nals] if unit.is_keyframe else list(unit.nals)
