"""Segments and events as recorder and ingest announce them: invented content with valid keys."""

from dataclasses import replace

from districam_common.contract import names
from districam_common.contract.events import Connected, Lost, SegmentStored

S = 1_000_000
NOON_US = 1_795_521_600 * S
"""2026-11-24T12:00:00Z."""
EPOCHS = [f"0193568f-0000-7000-8000-{n:012x}" for n in range(3)]


def segment(
    camera_id: str = "cam-1",
    *,
    epoch: int = 0,
    first_seq: int = 0,
    start_us: int = NOON_US,
    duration_us: int = 10 * S,
    size: int = 2_500_000,
) -> SegmentStored:
    """A segment of five fragments from `first_seq` on; odd ones are lossy."""
    stored = SegmentStored(
        camera_id=camera_id,
        epoch=EPOCHS[epoch],
        first_seq=first_seq,
        last_seq=first_seq + 4,
        start_us=start_us,
        end_us=start_us + duration_us,
        bytes=size + first_seq,
        init_bytes=900,
        access_units=250,
        lost_packets=first_seq % 2,
        damaged=0,
        codecs=f"avc1.64002{epoch}",
        width=1920,
        height=1080,
        starts_with_keyframe=True,
        bucket="districam",
        key="",
        sha256="0" * 64,
    )
    return replace(stored, key=names.segment_object_key(camera_id, names.entry_of(stored)))


def lost(at_us: int = NOON_US, camera_id: str = "cam-1") -> Lost:
    """An epoch that ended one second earlier."""
    return Lost(
        camera_id=camera_id,
        at_us=at_us,
        instance="host-1",
        epoch=EPOCHS[0],
        last_seq=9,
        end_us=at_us - S,
        cause="camera_unreachable",
    )


def connected(at_us: int = NOON_US, camera_id: str = "cam-1") -> Connected:
    """An epoch that starts."""
    return Connected(
        camera_id=camera_id,
        at_us=at_us,
        instance="host-1",
        epoch=EPOCHS[0],
        reader="native",
        transport="tcp",
        codecs="avc1.640020",
        width=1920,
        height=1080,
    )
