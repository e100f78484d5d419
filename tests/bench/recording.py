"""Records cameras into an archive's bucket with real services, and counts all their pictures."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.archive import Archive
from districam_devkit.accounting import CameraRecord, Interval, count, total
from districam_devkit.api_client import ApiClient, TimelineState, open_api_client
from districam_devkit.bitstream import StoredPicture, parse_stored_pictures
from districam_devkit.demo.report import (
    fetch_playlist_numbers,
    read_sent_pictures,
    recorded_windows,
    wait_until_settled,
)
from districam_devkit.pipeline import FAST_SETTLE_SETTINGS, apply_cameras, service_running
from districam_devkit.servers.ports import pick_free_ports
from districam_devkit.servers.process import Child
from districam_devkit.simcam.process import running_simulator
from districam_devkit.simcam.send_log import SentPicture

FULL: Mapping[str, object] = {"codec": "h264", "fps": 25, "gop_s": 2, "bitrate": 2_000_000}
"""A 1080p25 stream."""
SETTINGS = {**FAST_SETTLE_SETTINGS, "DISTRICAM_INGEST__LINGER_S": "0"}
FOUND_TIMEOUT_S = 120.0
SERVICES: tuple[str, ...] = ("ingest", "recorder", "api")
"""The services to start; the archive has its own indexer."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Cameras that are being recorded."""

    archive: Archive
    api: ApiClient
    cameras: Child
    camera_ids: list[str]
    send_log: Path

    async def wait_until_found(self) -> None:
        """Waits until a query finds footage of each camera that ends after now.

        Raises:
            TimeoutError: a camera has none.
        """
        since_us = time.time_ns() // 1000
        async with asyncio.timeout(FOUND_TIMEOUT_S):
            while not await self._has_all(since_us):
                await asyncio.sleep(0.25)

    async def _has_all(self, since_us: int) -> bool:
        try:
            found = [await self.api.segments(one, since_us, since_us + 10**12) for one in self.camera_ids]
        except httpx.HTTPError:
            return False
        return all(any(one.end_us > since_us for one in each) for each in found)

    async def stop_and_count(self) -> dict[str, Any]:
        """Stops the cameras, waits until nothing is pending; counts pictures stored, found or in reported gaps."""
        await self.cameras.stop()
        sent = read_sent_pictures(self.send_log)
        states = await wait_until_settled(self.api, recorded_windows(sent))
        records = {one: await self._record(one, pictures, states[one]) for one, pictures in sent.items()}
        gap_s = Counter[str]()
        for state in (state for answer in states.values() for state in answer if state.state == "gap"):
            gap_s[state.cause] += (state.to_us - state.from_us) / 1e6  # pyright: ignore[reportArgumentType]  # seconds
        return {
            **asdict(total({one: count(record) for one, record in records.items()})),
            "stored_and_not_found": sum(
                len({picture.number for picture in record.stored} - set(record.played_numbers))
                for record in records.values()
            ),
            "gap_s": {cause: round(seconds, 2) for cause, seconds in gap_s.items()},
        }

    async def _record(self, camera_id: str, sent: list[SentPicture], states: list[TimelineState]) -> CameraRecord:
        from_us, to_us = sent[0].sent_us - 2_000_000, time.time_ns() // 1000
        listed = await self.api.segments(camera_id, from_us, to_us)
        stored: list[StoredPicture] = []
        async for one in self.archive.bucket.list(f"{camera_id}/"):
            stored += await asyncio.to_thread(parse_stored_pictures, await self.archive.bucket.get(one.key))
        return CameraRecord(
            sent=sent,
            stored=stored,
            played_numbers=await fetch_playlist_numbers(self.api, camera_id, from_us, to_us),
            timeline=states,
            lossy_intervals=[Interval(one.start_us, one.end_us) for one in listed if one.lossy],
        )


@asynccontextmanager
async def running_recording(archive: Archive, cameras: int, clip: Mapping[str, object]) -> AsyncGenerator[Recording]:
    """Runs the cameras and all services except the indexer."""
    home, ids = archive.home / "live", [f"live-{number}" for number in range(cameras)]
    home.mkdir()
    rtsp, port = pick_free_ports(2)
    settings = {**archive.environment(), **SETTINGS, "DISTRICAM_API__PORT": str(port)}
    spec, log = home / "simcam.json", home / "sent.log"
    spec.write_text(json.dumps({"cameras": [{"id": one, "clip": clip} for one in ids], "faults": []}))
    async with AsyncExitStack() as stack:
        simulated = await stack.enter_async_context(
            running_simulator(spec, rtsp, home=home, cache=Path(".devkit/clips").absolute(), log=log)
        )
        for name in SERVICES:
            await stack.enter_async_context(service_running(name, home, settings))
        records = [
            {"camera_id": one, "name": one, "url": f"rtsp://127.0.0.1:{rtsp}/{one}", "segment_s": 4} for one in ids
        ]
        await apply_cameras(home / "cameras.yaml", records, archive.environment())
        api = await stack.enter_async_context(open_api_client(f"http://127.0.0.1:{port}", timeout_s=30))
        yield Recording(archive, api, simulated, ids, log)
