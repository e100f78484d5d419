"""Operations on the running system, each with a count of every picture sent meanwhile."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import av
import httpx

from compose.stack import CAMERAS, Stack
from districam_common.contract.names import parse_segment_object_key
from districam_devkit.accounting import CameraRecord, Interval, count, total
from districam_devkit.api_client import ApiClient, ListedSegment, TimelineState
from districam_devkit.bitstream import StoredPicture, parse_stored_pictures
from districam_devkit.demo.latency import now_us
from districam_devkit.demo.report import fetch_playlist_numbers, wait_until_settled
from districam_devkit.services import SERVICES
from districam_devkit.simcam.send_log import SentPicture, read_send_log

AROUND_S = 12
"""Footage counted before and after: a segment and a keyframe."""
ALONE_MOST_S = 5.0 + 2.0
"""Allowed gap per camera for restarting the only ingest: five seconds, and a GOP of the simulated cameras."""
SETTLE_S = 100
"""Gaps are final once the broker has been in contact for a minute."""


@dataclass
class Row:
    """The result of one operation."""

    name: str
    sent: int = 0
    stored: int = 0
    unaccounted: int = 0
    duplicates: int = 0
    gap_s: dict[str, float] = field(default_factory=dict[str, float])
    allowed: tuple[str, ...] = ()
    took_s: float = 0.0
    api_5xx: int = 0
    may_repeat: int = 0
    """Pictures that may be shown twice: one segment per change of epoch in the cover (the contract, Playlist)."""
    repeat_too_often: list[str] = field(default_factory=list[str])
    """Cameras that exceed it."""
    worst_gap_s: float = 0.0
    """Of the camera with the longest gap."""
    gap_most_s: float = 0.0
    by_camera: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """Cameras with unaccounted pictures."""

    @property
    def ok(self) -> bool:
        return (
            self.sent > 0
            and not self.unaccounted
            and not self.repeat_too_often
            and not self.api_5xx
            and set(self.gap_s) <= set(self.allowed)
            and self.worst_gap_s <= self.gap_most_s
        )

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "allowed": list(self.allowed), "ok": self.ok}


class Footage:
    """Counts footage through the published port only."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    async def over(self, name: str, operation: Callable[[], Awaitable[None]], *allowed: str) -> Row:
        """Runs the operation; counts from before it until every camera has recovered."""
        row = Row(name, allowed=allowed, gap_most_s=ALONE_MOST_S if allowed else 0.0)
        from_us, began = now_us(), time.monotonic()
        await asyncio.sleep(AROUND_S)
        await operation()
        row.took_s = round(time.monotonic() - began - AROUND_S, 1)
        await self.stack.cameras_record()
        await asyncio.sleep(AROUND_S)
        to_us = now_us() - 2_000_000
        sent = await asyncio.to_thread(self._sent, from_us, to_us)
        async with asyncio.timeout(SETTLE_S + 60), self.stack.api() as api:
            await asyncio.sleep(5)
            await self._count(api, row, sent, from_us, to_us)
        return row

    def _sent(self, from_us: int, to_us: int) -> dict[str, list[SentPicture]]:
        with tempfile.NamedTemporaryFile("w", suffix=".log") as copy:
            copy.write(self.stack.compose("exec", "-T", "simulator", "cat", "/tmp/sent.log"))  # noqa: S108
            copy.flush()
            found: dict[str, list[SentPicture]] = {camera_id: [] for camera_id in CAMERAS}
            for one in read_send_log(Path(copy.name)):
                if from_us <= one.sent_us < to_us:
                    found[one.camera_id].append(one)
        return found

    async def _count(
        self, api: ApiClient, row: Row, sent: dict[str, list[SentPicture]], from_us: int, to_us: int
    ) -> None:
        states = await wait_until_settled(api, dict.fromkeys(sent, (from_us, to_us)))
        records: dict[str, CameraRecord] = {}
        repeats: dict[str, int] = {}
        for camera_id, pictures in sent.items():
            numbers = {one.number for one in pictures}
            listed = await api.segments(camera_id, from_us - 30_000_000, to_us + 30_000_000)
            objects = [parse_stored_pictures(await api.media(one.url)) for one in listed]
            seen = await fetch_playlist_numbers(api, camera_id, from_us, to_us)
            records[camera_id] = CameraRecord(
                sent=pictures,
                stored=[one for pictures in objects for one in pictures if one.number in numbers],
                played_numbers=[number for number in seen if number in numbers],
                timeline=states[camera_id],
                lossy_intervals=[Interval(one.start_us, one.end_us) for one in listed if one.lossy],
            )
            gaps = [state for state in states[camera_id] if state.state == "gap"]
            for gap in gaps:
                row.gap_s[gap.cause] = round(row.gap_s.get(gap.cause, 0.0) + _s(gap), 3)
            row.worst_gap_s = max(row.worst_gap_s, round(sum(map(_s, gaps)), 3))
            repeats[camera_id] = _may_repeat(listed, objects)
        by_camera = {camera_id: count(record) for camera_id, record in records.items()}
        row.may_repeat = sum(repeats.values())
        row.repeat_too_often = [c for c, one in by_camera.items() if one.duplicates > repeats[c]]
        counted = total(by_camera)
        row.sent, row.stored = counted.sent, counted.stored
        row.by_camera = {camera_id: asdict(one) for camera_id, one in by_camera.items() if one.unaccounted}
        row.unaccounted, row.duplicates = counted.unaccounted, counted.duplicates


def _s(gap: TimelineState) -> float:
    return (gap.to_us - gap.from_us) / 1e6


def _may_repeat(listed: list[ListedSegment], objects: list[list[StoredPicture]]) -> int:
    """A camera's changes of epoch times its longest segment; 0 without a change."""
    epochs = {parse_segment_object_key(one.key, 1).entry.epoch for one in listed}
    return max(0, len(epochs) - 1) * max(map(len, objects), default=0)


async def record_only(footage: Footage) -> Row:
    """Records without an operation; a clip through the published port must have pictures."""
    row = await footage.over("records", lambda: asyncio.sleep(20))
    async with footage.stack.api() as api:
        at_us = now_us() - 40_000_000
        for camera_id in CAMERAS:
            url = api.playlist_url(camera_id, at_us, at_us + 20_000_000)
            assert "#EXT-X-ENDLIST" in await api.text(url)
            clip = await api.media(url.replace("playlist.m3u8", "clip.mp4"))
            with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
                Path(file.name).write_bytes(clip)
                with av.open(file.name) as opened:
                    assert sum(1 for _ in opened.decode(video=0)) > 100
    return row


def restarted(service: str, *allowed: str) -> Callable[[Footage], Awaitable[Row]]:
    """`docker compose restart`: SIGTERM with its grace period."""

    async def row(footage: Footage) -> Row:
        async def operation() -> None:
            await asyncio.to_thread(footage.stack.compose, "restart", service)
            await footage.stack.ready(service)

        return await footage.over(f"restart {service}", operation, *allowed)

    return row


def killed(service: str) -> Callable[[Footage], Awaitable[Row]]:
    """`docker kill`, then up again."""

    async def row(footage: Footage) -> Row:
        async def operation() -> None:
            one = footage.stack.compose("ps", "-q", service).split()[0]
            footage.stack.docker("kill", one)
            await asyncio.sleep(3)
            # Without --wait: dependents of a killed service are unready for a while, on which `--wait` would fail.
            await asyncio.to_thread(footage.stack.compose, "up", "-d", "--no-build")
            for name in SERVICES:
                await footage.stack.ready(name)

        return await footage.over(f"kill {service}", operation)

    return row


async def down_and_up(footage: Footage) -> Row:
    """`down` and `up`: footage from before is found again. Counts segments."""
    at_us = now_us() - 30_000_000
    async with footage.stack.api() as api:
        before = {c: len(await api.segments(c, at_us - 60_000_000, at_us)) for c in CAMERAS}
    assert all(before.values())
    began = time.monotonic()
    await asyncio.to_thread(footage.stack.compose, "down")
    await footage.stack.start()
    row = Row("down, up", took_s=round(time.monotonic() - began, 1))
    async with footage.stack.api() as api:
        after = {c: len(await api.segments(c, at_us - 60_000_000, at_us)) for c in CAMERAS}
    row.sent, row.stored = sum(before.values()), sum(after.values())
    row.unaccounted = sum(max(0, before[c] - after[c]) for c in CAMERAS)
    return row


async def rolling(footage: Footage) -> Row:
    """Adds a second ingest, then replaces every service replica by replica while requests are sent to the API."""
    stack, answers = footage.stack, list[int]()

    async def send_requests(stopped: asyncio.Event) -> None:
        async with stack.api() as api:
            while not stopped.is_set():
                try:
                    await api.streams()
                    answers.append(200)
                except httpx.HTTPStatusError as error:
                    answers.append(error.response.status_code)
                except httpx.TransportError:
                    answers.append(0)
                await asyncio.sleep(0.2)

    async def operation() -> None:
        await asyncio.to_thread(stack.compose, "up", "-d", "--wait", "--no-build", "--scale", "ingest=2")
        stopped = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send_requests(stopped))
            for service in ("ingest", "recorder", "indexer"):
                for one in (await asyncio.to_thread(stack.compose, "ps", "-q", service)).split():
                    await asyncio.to_thread(stack.docker, "restart", "-t", "50", one)
                    await stack.ready(service)
            stopped.set()
        await asyncio.to_thread(stack.compose, "restart", "api")  # the api has one replica, so its restart is an outage
        await stack.ready("api")

    row = await footage.over("rolling restart, two ingests", operation)
    assert len(answers) > 50
    row.api_5xx = sum(1 for status in answers if status >= 500 or status == 0)
    return row


ROWS: dict[str, Callable[[Footage], Awaitable[Row]]] = {
    "records": record_only,
    "restart-recorder": restarted("recorder"),
    "restart-indexer": restarted("indexer"),
    "restart-api": restarted("api"),
    "restart-ingest": restarted("ingest", "handover", "service_down"),
    "kill-recorder": killed("recorder"),
    "kill-kafka": killed("kafka"),
    "rolling": rolling,
    "down-up": down_and_up,
}
