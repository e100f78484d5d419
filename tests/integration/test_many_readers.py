"""Fifty clients read clips and timelines while eight cameras record: no picture is lost."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from districam_devkit.accounting import CameraRecord, Counts, count
from districam_devkit.api_client import TimelineState, format_instant, open_api_client
from districam_devkit.bitstream import parse_stored_pictures
from districam_devkit.demo.latency import now_us
from districam_devkit.demo.report import (
    fetch_playlist_numbers,
    list_stored_objects,
    read_sent_pictures,
    recorded_windows,
    wait_until_settled,
)
from districam_devkit.pipeline import FAST_SETTLE_SETTINGS, Service, apply_cameras, prepare, services_running
from districam_devkit.servers import all_running
from districam_devkit.simcam import Generated, SimCamera, running
from integration.conftest import running_in_thread

pytestmark = pytest.mark.timeout(120)

CLIENTS, CAMERAS = 50, [SimCamera(f"camera-{n}", Generated(
    width=320, height=180, fps=10, seconds=4, gop_s=2, bitrate=150_000, label="x",
)) for n in range(8)]  # fmt: skip
SEGMENT_S = 2
ALONE_S, READ_S = 8.0, 16.0
"""Time of recording before and while clients read."""
PATIENCE_S = 0.5
SETTINGS = {**FAST_SETTLE_SETTINGS, "DISTRICAM_INGEST__LINGER_S": "0"}


@dataclass
class Reader:
    """A client and the responses it got."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    pictures: int = 0

    async def read(self, api_url: str, began_us: int, until_s: float) -> None:
        """Sends requests in sequence, pausing only for Retry-After."""
        async with httpx.AsyncClient(base_url=api_url, timeout=20) as http:
            while time.monotonic() < until_s:
                path = f"/v1/cameras/{random.choice(CAMERAS).camera_id}"
                to_us = now_us() - 4_000_000
                window = {"from": format_instant(max(began_us, to_us - 8_000_000)), "to": format_instant(to_us)}
                self._note("timeline", await http.get(f"{path}/timeline", params=window))
                clip = await http.get(f"{path}/clip.mp4", params=window)
                self._note("clip", clip)
                if clip.status_code == 200:
                    self.pictures += len(parse_stored_pictures(clip.content))
                else:
                    await asyncio.sleep(PATIENCE_S)

    def _note(self, what: str, answer: httpx.Response) -> None:
        self.statuses[what, answer.status_code] += 1
        assert answer.status_code != 503 or int(answer.headers["retry-after"]) > 0


@dataclass(frozen=True)
class Results:
    """Results; `states` from each camera's first recordable picture to its last."""

    readers: list[Reader]
    counts: dict[str, Counts]
    states: dict[str, list[TimelineState]]
    shed: dict[str, float]


@asynccontextmanager
async def _run_scenario(home: Path) -> AsyncGenerator[Results]:
    log = home / "sent.log"
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(all_running(home))
        await prepare(servers)
        pipeline = await stack.enter_async_context(services_running(home, servers, environment=SETTINGS))
        api = await stack.enter_async_context(open_api_client(pipeline.api_url))
        began_us = now_us()
        async with running(CAMERAS, log=log, cache=Path(".devkit/clips")) as simulation:
            await _announce(home, simulation.urls(), servers.environment())
            await asyncio.sleep(ALONE_S)
            readers = [Reader() for _ in range(CLIENTS)]
            until_s = time.monotonic() + READ_S
            async with asyncio.TaskGroup() as tasks:
                for reader in readers:
                    tasks.create_task(reader.read(pipeline.api_url, began_us, until_s))
        shed = await _at_rest(pipeline["ingest"])
        sent = read_sent_pictures(log)
        states = await wait_until_settled(api, recorded_windows(sent))
        objects = await asyncio.to_thread(list_stored_objects, servers)
        counts = {
            camera_id: count(
                CameraRecord(
                    sent=pictures,
                    stored=[p for o in objects if o.key.startswith(f"{camera_id}/") for p in o.pictures],
                    played_numbers=await fetch_playlist_numbers(api, camera_id, began_us, now_us()),
                    timeline=states[camera_id],
                )
            )
            for camera_id, pictures in sent.items()
        }
        yield Results(readers, counts, states, shed)


async def _announce(home: Path, urls: dict[str, str], environment: dict[str, str]) -> None:
    records = [
        {"camera_id": camera_id, "name": camera_id, "url": url, "segment_s": SEGMENT_S}
        for camera_id, url in urls.items()
    ]
    await apply_cameras(home / "cameras.yaml", records, environment)


async def _at_rest(ingest: Service) -> dict[str, float]:
    """What ingest has shed, once it has noticed that the cameras ended."""
    async with asyncio.timeout(20):
        while any((await ingest.metric("districam_ingest_connected")).values()):
            await asyncio.sleep(0.2)
    assert len(await ingest.metric("districam_ingest_access_units_total")) == len(CAMERAS)
    shed = await ingest.metric("districam_ingest_shed_access_units_total")
    await ingest.child.stop()
    return shed


@pytest.fixture(scope="module")
def results() -> Generator[Results]:
    with (
        TemporaryDirectory(prefix="districam-") as home,
        running_in_thread(lambda: _run_scenario(Path(home))) as finished,
    ):
        yield finished


def test_every_request_is_answered_or_gets_retry_after(results: Results) -> None:
    statuses = sum((reader.statuses for reader in results.readers), Counter[tuple[str, int]]())
    assert {status for what, status in statuses if what == "timeline"} == {200}
    assert {status for what, status in statuses if what == "clip"} <= {200, 503}
    assert all(reader.statuses["timeline", 200] for reader in results.readers)
    assert statuses["clip", 200] > CLIENTS, statuses
    assert sum(reader.pictures for reader in results.readers) > 1000


def test_nothing_is_shed_and_every_picture_is_stored(results: Results) -> None:
    assert not any(results.shed.values())
    assert len(results.counts) == len(CAMERAS)
    for camera_id, counted in results.counts.items():
        assert counted.sent > (ALONE_S + READ_S) * 10 * 0.8, camera_id
        assert (counted.unaccounted, counted.duplicates) == (0, 0), (camera_id, counted)
        assert counted.stored == counted.sent - counted.before_first_keyframe, (camera_id, counted)


def test_recording_has_no_gap(results: Results) -> None:
    """A camera is not expected before its record exists."""
    assert len(results.states) == len(CAMERAS)
    for camera_id, states in results.states.items():
        assert "recorded" in {state.state for state in states}, camera_id
        assert {state.state for state in states} <= {"recorded", "not_expected"}, states
