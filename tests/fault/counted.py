"""The cost of a fault: the outcome of every picture sent from shortly before it until every camera had recovered."""

import asyncio
from collections import Counter
from dataclasses import dataclass, replace

from minio import Minio

from districam_common.contract.names import parse_segment_object_key
from districam_devkit.accounting import CameraRecord, Interval, count, total
from districam_devkit.api_client import ListedSegment, TimelineState
from districam_devkit.bitstream import StoredPicture, parse_stored_pictures
from districam_devkit.demo.report import fetch_playlist_numbers, wait_until_settled
from districam_devkit.simcam.send_log import SentPicture, read_send_log
from fault.scene import Scene

BUCKET = "districam"


@dataclass(frozen=True, slots=True)
class Cost:
    """Counts of access units, and seconds of gap."""

    sent: int
    stored: int
    in_gaps: int
    gap_s: dict[str, float]
    unaccounted: int
    duplicates: int
    stored_twice: int
    worst_gap_s: dict[str, float]
    """The longest total gap of a camera, by cause."""


async def cost(scene: Scene, from_us: int, to_us: int) -> Cost:
    """Counts a window once nothing in it is pending.

    Raises:
        TimeoutError: a state stays pending.
    """
    sent = _sent(scene, from_us, to_us)
    windows = dict.fromkeys(sent, (from_us, to_us))
    states = await wait_until_settled(scene.api, windows)
    stored = await asyncio.to_thread(_stored, scene, from_us, to_us)
    records: dict[str, CameraRecord] = {}
    for camera_id, pictures in sent.items():
        numbers = {one.number for one in pictures}
        records[camera_id] = CameraRecord(
            sent=pictures,
            stored=[one for one in stored[camera_id] if one.number in numbers],
            played_numbers=[
                n for n in await fetch_playlist_numbers(scene.api, camera_id, from_us, to_us) if n in numbers
            ],
            timeline=states[camera_id],
            lossy_intervals=_lossy(await scene.api.segments(camera_id, from_us, to_us)),
        )
    counted = total({camera_id: count(record) for camera_id, record in records.items()})
    gaps = {camera_id: _gap_s(answer) for camera_id, answer in states.items()}
    causes = sorted({cause for gap in gaps.values() for cause in gap})
    return Cost(
        sent=counted.sent,
        stored=counted.stored,
        in_gaps=counted.in_gaps,
        gap_s={cause: round(sum(gap[cause] for gap in gaps.values()), 2) for cause in causes},
        unaccounted=counted.unaccounted,
        duplicates=counted.duplicates,
        stored_twice=counted.stored_twice,
        worst_gap_s={cause: round(max(gap[cause] for gap in gaps.values()), 2) for cause in causes},
    )


def _lossy(listed: list[ListedSegment]) -> list[Interval]:
    return [Interval(one.start_us, one.end_us) for one in listed if one.lossy]


def _gap_s(states: list[TimelineState]) -> Counter[str]:
    out = Counter[str]()
    for state in states:
        if state.state == "gap":
            out[state.cause] += (state.to_us - state.from_us) / 1e6  # pyright: ignore[reportArgumentType]  # seconds
    return out


def _sent(scene: Scene, from_us: int, to_us: int) -> dict[str, list[SentPicture]]:
    """Sent pictures by camera, also those before a connection's first keyframe, as they belong to the gap before it."""
    out: dict[str, list[SentPicture]] = {}
    for one in read_send_log(scene.send_log):
        if from_us <= one.sent_us < to_us:
            out.setdefault(one.camera_id, []).append(replace(one, before_first_keyframe=False))
    return out


def _stored(scene: Scene, from_us: int, to_us: int) -> dict[str, list[StoredPicture]]:
    """Pictures of all objects that overlap the window, by camera. Blocks."""
    s3 = scene.servers.s3
    client = Minio(s3.endpoint, access_key=s3.access_key, secret_key=s3.secret_key, secure=False, region="us-east-1")
    out: dict[str, list[StoredPicture]] = {}
    for listed in client.list_objects(BUCKET, recursive=True):
        key = listed.object_name or ""
        if not key.endswith(".mp4"):
            continue
        named = parse_segment_object_key(key, listed.size or 0)
        pictures, entry = out.setdefault(named.camera_id, []), named.entry
        if entry.end_us <= from_us or entry.start_us >= to_us:
            continue
        answer = client.get_object(BUCKET, key)
        try:
            pictures += parse_stored_pictures(answer.read())
        finally:
            answer.close()
            answer.release_conn()
    return out
