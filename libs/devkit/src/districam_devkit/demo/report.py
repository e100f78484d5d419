"""Builds the demo's final report from stored bytes and the API's answers."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from minio import Minio

from districam_devkit.accounting import CameraRecord, Counts, Interval, count, total
from districam_devkit.api_client import ApiClient, ListedSegment, TimelineState
from districam_devkit.bitstream import StoredPicture, parse_stored_pictures
from districam_devkit.demo.latency import now_us, percentile
from districam_devkit.hls_playlist import parse_playlist
from districam_devkit.servers import Servers
from districam_devkit.simcam.send_log import SentPicture, read_send_log

BUCKET = "districam"
SETTLED_POLL_S = 0.5
SETTLE_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One stored segment: its key, and the pictures in it."""

    key: str
    pictures: list[StoredPicture]


def list_stored_objects(servers: Servers) -> list[StoredObject]:
    """Reads and parses every segment in the bucket. Blocks."""
    client = Minio(
        servers.s3.endpoint,
        access_key=servers.s3.access_key,
        secret_key=servers.s3.secret_key,
        secure=False,
        region="us-east-1",
    )
    found: list[StoredObject] = []
    for listed in client.list_objects(BUCKET, recursive=True):
        key = listed.object_name or ""
        if not key.endswith(".mp4"):
            continue
        answer = client.get_object(BUCKET, key)
        try:
            found.append(StoredObject(key, parse_stored_pictures(answer.read())))
        finally:
            answer.close()
            answer.release_conn()
    return found


async def wait_until_settled(api: ApiClient, windows: Mapping[str, tuple[int, int]]) -> dict[str, list[TimelineState]]:
    """Polls the timelines until no state is pending, and returns them.

    Raises:
        TimeoutError: a state stays pending.
    """
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while True:
            states = {camera_id: await api.timeline(camera_id, *window) for camera_id, window in windows.items()}
            if not any(state.state == "pending" for answer in states.values() for state in answer):
                return states
            await asyncio.sleep(SETTLED_POLL_S)


def recorded_windows(sent: Mapping[str, list[SentPicture]]) -> dict[str, tuple[int, int]]:
    """Returns for each camera the time from its first recordable picture to its last picture, µs UTC."""
    out: dict[str, tuple[int, int]] = {}
    for camera_id, pictures in sent.items():
        keepable = [one for one in pictures if not one.before_first_keyframe]
        if keepable:
            out[camera_id] = (keepable[0].sent_us, pictures[-1].sent_us)
    return out


def read_sent_pictures(log: Path) -> dict[str, list[SentPicture]]:
    """Reads the send log; returns the pictures by camera."""
    out: dict[str, list[SentPicture]] = {}
    for one in read_send_log(log):
        out.setdefault(one.camera_id, []).append(one)
    return out


@dataclass(frozen=True, slots=True)
class Run:
    """State of the demo at its end, input of the report."""

    servers: Servers
    api: ApiClient
    send_log: Path
    listed_us: Mapping[str, int]
    seconds: float


async def make_report(run: Run) -> dict[str, Any]:
    """Builds the report of a finished run (README, The report).

    Raises:
        TimeoutError: footage stays pending.
    """
    sent = read_sent_pictures(run.send_log)
    windows = recorded_windows(sent)
    states = await wait_until_settled(run.api, windows)
    objects = await asyncio.to_thread(list_stored_objects, run.servers)
    counts: dict[str, Counts] = {}
    listed: dict[str, list[ListedSegment]] = {}
    for camera_id, pictures in sent.items():
        from_us, to_us = pictures[0].sent_us - 2_000_000, now_us()
        listed[camera_id] = await run.api.segments(camera_id, from_us, to_us)
        record = CameraRecord(
            sent=pictures,
            stored=[p for o in objects if o.key.startswith(f"{camera_id}/") for p in o.pictures],
            played_numbers=await fetch_playlist_numbers(run.api, camera_id, from_us, to_us),
            timeline=states.get(camera_id, []),
            lossy_intervals=[Interval(one.start_us, one.end_us) for one in listed[camera_id] if one.lossy],
        )
        counts[camera_id] = count(record)
    return {
        **_totals(len(sent), run.seconds, total(counts)),
        "gaps": [
            {"camera": camera_id, "cause": state.cause, "s": round((state.to_us - state.from_us) / 1e6, 3)}
            for camera_id, answer in states.items()
            for state in answer
            if state.state == "gap"
        ],
        "capture_to_queryable_ms": _latency(objects, run.listed_us),
        "broker": {"name": run.servers.kafka.name, "version": run.servers.kafka.version},
        "segments": sum(map(len, listed.values())),
        "playlist": await _check_playlist(run.api, listed, objects),
        "by_camera": {camera_id: asdict(counted) for camera_id, counted in counts.items()},
    }


def _totals(cameras: int, seconds: float, counts: Counts) -> dict[str, Any]:
    return {
        "cameras": cameras,
        "seconds": round(seconds, 1),
        "access_units_sent": counts.sent,
        "access_units_before_first_keyframe": counts.before_first_keyframe,
        "access_units_stored": counts.stored,
        "access_units_in_gaps": counts.in_gaps,
        "unaccounted": counts.unaccounted,
        "duplicates": counts.duplicates,
        "stored_twice": counts.stored_twice,
    }


async def fetch_playlist_numbers(api: ApiClient, camera_id: str, from_us: int, to_us: int) -> list[int]:
    """Returns the running numbers of the pictures in the window's playlist, in its order."""
    text = await api.text(api.playlist_url(camera_id, from_us, to_us))
    numbers: list[int] = []
    for entry in parse_playlist(text):
        init = await api.media(entry.init_url, entry.init_range)
        numbers += [picture.number for picture in parse_stored_pictures(init + await api.media(entry.url, entry.range))]
    return numbers


def _latency(objects: list[StoredObject], listed_us: Mapping[str, int]) -> dict[str, float | None]:
    """Percentiles of the time from sending a segment's first access unit until the segment was listed."""
    ms = [(listed_us[one.key] - one.pictures[0].sent_us) / 1000 for one in objects if one.key in listed_us]
    return {name: _rounded(percentile(ms, share)) for name, share in (("p50", 0.5), ("p99", 0.99))}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


async def _check_playlist(
    api: ApiClient, listed: Mapping[str, list[ListedSegment]], objects: list[StoredObject]
) -> dict[str, Any]:
    """Decodes one camera's whole playlist with libavcodec and compares the picture count with the stored pictures."""
    camera_id = min(listed, key=lambda one: sum(len(o.pictures) for o in objects if o.key.startswith(f"{one}/")))
    segments = listed[camera_id]
    if not segments:
        return {"url": None, "access_units": 0, "ok": False}
    url = api.playlist_url(camera_id, segments[0].start_us, segments[-1].end_us)
    stored = {p.number for o in objects if o.key.startswith(f"{camera_id}/") for p in o.pictures}
    decoded = await asyncio.to_thread(_decoded, url)
    return {"url": url, "access_units": decoded, "ok": decoded == len(stored)}


def _decoded(url: str) -> int:
    try:
        with av.open(url, timeout=(10, 10)) as container:
            return sum(1 for _ in container.decode(video=0))
    except FFmpegError:
        return 0


def write(report: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
