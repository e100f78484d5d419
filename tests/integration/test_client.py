"""The command `districam` against the running api and real footage."""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr
from redis.asyncio import Redis

from districam_common.contract import names
from districam_common.contract.events import Camera, Location
from districam_common.contract.names import format_rfc3339
from districam_common.runtime.settings import S3Settings
from districam_devkit import bitstream
from districam_devkit.servers import Servers, valkey
from districam_devkit.simcam.clips import Generated
from support.api_process import ApiProcess, api_running, create_stocked_bucket, populate_index
from support.numbered_footage import make_numbered_segments, open_footage
from support.segment_objects import SegmentObject

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

S = 1_000_000
NOW_US = time.time_ns() // 1000
START_US = (NOW_US // (3600 * S) - 1) * 3600 * S - 30 * S
EPOCHS = [f"01900000-0000-7000-8000-00000000000{n}" for n in range(9)]
AVC, LARGER = (Generated(width=w, height=w * 9 // 16, bitrate=300_000, label="AVC") for w in (320, 640))
CROSSING, HOLED = open_footage("lien-nghia-1", START_US, AVC), open_footage("holed", START_US, AVC)
HEADLESS = open_footage("headless", START_US, AVC)
SMALL, LARGE = open_footage("sizes", START_US, AVC), open_footage("sizes", START_US, LARGER)
MADE: dict[str, list[SegmentObject]] = {
    "lien-nghia-1": [
        *make_numbered_segments(CROSSING, EPOCHS[1], range(500)),
        *make_numbered_segments(CROSSING, EPOCHS[2], range(750, 1000)),
    ],
    "sizes": [
        *make_numbered_segments(SMALL, EPOCHS[3], range(500)),
        *make_numbered_segments(LARGE, EPOCHS[4], range(500, 1000)),
    ],
    "holed": make_numbered_segments(HOLED, EPOCHS[5], range(1000)),
    "headless": make_numbered_segments(HEADLESS, EPOCHS[6], range(1000)),
}
CAMERAS = [
    Camera(
        camera_id="lien-nghia-1", name="Ngã tư Liên Nghĩa", url="rtsp://10.0.0.1/1", updated_us=START_US - 3600 * S,
        location=Location(latitude=11.7, longitude=108.3, place="Quốc lộ 20"),
    ),
    *(
        Camera(camera_id=name, name=name, url=f"rtsp://10.0.0.1/{name}", updated_us=START_US - 3600 * S)
        for name in ("sizes", "holed", "headless")
    ),
]  # fmt: skip


def at(seconds: float) -> str:
    return format_rfc3339(START_US + round(seconds * S))


@dataclass(frozen=True, slots=True)
class Site:
    """The running api, its index, and settings for a second api."""

    api: ApiProcess
    redis: Redis
    s3: S3Settings
    redis_url: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Site]:
    home = tmp_path_factory.mktemp("client")
    s3 = S3Settings(
        endpoint=servers.s3.url,
        access_key=servers.s3.access_key,
        secret_key=SecretStr(servers.s3.secret_key),
        bucket=f"test-client-{NOW_US}",
    )
    lost = {MADE["holed"][2].key, MADE["headless"][0].key}  # indexed, but missing in the store
    await create_stocked_bucket(s3, {name: [one for one in made if one.key not in lost] for name, made in MADE.items()})
    async with valkey.running(home / "data", log_dir=home) as server, Redis.from_url(server.url) as redis:
        await populate_index(redis, CAMERAS, MADE, watermark_us=NOW_US)
        async with api_running(s3, server.url, home / "api.log") as api:
            yield Site(api, redis, s3, server.url)


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    error: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def environment(url: str) -> dict[str, str]:
    ours = {"DISTRICAM_CLIENT__URL": url, "DISTRICAM_CLIENT__TIMEZONE": "Asia/Ho_Chi_Minh"}
    return {**os.environ, **ours, "DISTRICAM_S3__BUCKET": "not-the-clients"}


async def districam(site: Site | str, folder: Path, *words: str) -> Ran:
    """Runs the command in that folder."""
    url = site if isinstance(site, str) else site.api.url
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "districam_client", *words,
        cwd=folder, env=environment(url), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, error = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), error.decode())


def numbers(file: Path) -> list[int]:
    return [picture.number for picture in bitstream.parse_stored_pictures(file.read_bytes())]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_find_leads_to_a_still_and_a_clip(site: Site, tmp_path: Path):
    found = await districam(site, tmp_path, "find", "nga tu", "lien nghia", "--at", at(10))
    assert (found.code, found.error) == (0, "")
    row, still, clip = found.lines
    assert row == "lien-nghia-1\tNgã tư Liên Nghĩa\tQuốc lộ 20\trecorded"
    taken = await districam(site, tmp_path, *still.split()[1:], "-o", "still.jpg")
    assert taken.code == 0, taken.error
    assert (tmp_path / "still.jpg").read_bytes()[:2] == b"\xff\xd8"
    fetched = await districam(site, tmp_path, *clip.split()[1:], "-o", "clip.mp4")
    assert fetched.code == 0, fetched.error
    assert numbers(tmp_path / "clip.mp4") == [*range(500), *range(750, 1000)]
    assert "0:30 recorded, 0:" in fetched.out
    assert files(tmp_path) == ["clip.mp4", "still.jpg"]


async def test_find_reports_gaps_with_their_causes(site: Site, tmp_path: Path):
    found = await districam(site, tmp_path, "find", "lien", "--at", at(25), "--json")
    (camera,) = json.loads(found.out)["cameras"]
    assert (camera["state"], camera["cause"]) == ("gap", "service_down")
    assert camera["commands"]["clip"].startswith("districam clip lien-nghia-1 --from ")
    no_match = await districam(site, tmp_path, "find", "chợ", "--at", at(25))
    assert (no_match.code, no_match.out) == (1, "")
    assert "no camera matches 'chợ'" in no_match.error


async def test_find_without_a_time_reports_the_streams_health(site: Site, tmp_path: Path):
    found = await districam(site, tmp_path, "find", "LIÊN NGHĨA")
    assert (found.code, found.lines) == (0, ["lien-nghia-1\tNgã tư Liên Nghĩa\tQuốc lộ 20\tlate"])


async def test_words_and_durations_are_accepted_as_times(site: Site, tmp_path: Path):
    ago_s = (time.time_ns() // 1000 - START_US) // S
    ran = await districam(site, tmp_path, "clip", "lien-nghia-1", "--from", f"-{ago_s - 4}s", "--to", "+6s", "--json")
    assert ran.code == 0, ran.error
    printed = json.loads(ran.out)
    assert printed["from"].endswith("+07:00")
    (name,) = files(tmp_path)
    assert name == printed["file"]
    assert name.startswith("lien-nghia-1_2")
    assert (tmp_path / name).stat().st_size == printed["bytes"]


async def test_an_invalid_time_is_exit_code_2(site: Site, tmp_path: Path):
    ran = await districam(site, tmp_path, "still", "lien-nghia-1", "--at", "hôm kìa mốt 8h")
    assert (ran.code, ran.out) == (2, "")
    assert "'mot' is not understood" in ran.error
    assert "hôm qua 21:40" in ran.error


async def test_a_change_of_size_lists_windows_and_split_downloads_each(site: Site, tmp_path: Path):
    words = ("clip", "sizes", "--from", at(0), "--to", at(40))
    refused = await districam(site, tmp_path, *words)
    assert (refused.code, files(tmp_path)) == (1, [])
    commands = [line.split() for line in refused.error.splitlines() if line.startswith("  districam clip")]
    assert len(commands) == 2
    for command in commands:
        assert (await districam(site, tmp_path, *command[1:])).code == 0
    assert len(files(tmp_path)) == 2
    split = await districam(site, tmp_path, *words, "--split", "-o", "both.mp4", "--json")
    assert split.code == 0, split.error
    assert [json.loads(line)["file"] for line in split.lines] == ["both-1.mp4", "both-2.mp4"]
    parts = [numbers(tmp_path / f"both-{n}.mp4") for n in (1, 2)]
    assert parts == [list(range(500)), list(range(500, 1000))]


async def test_no_footage_is_reported_with_its_causes(site: Site, tmp_path: Path):
    ran = await districam(site, tmp_path, "clip", "lien-nghia-1", "--from", at(22), "--to", at(28))
    assert ran.code == 1
    assert "gap, service_down" in ran.error
    assert files(tmp_path) == []


async def test_an_interrupted_clip_leaves_no_file(site: Site, tmp_path: Path):
    ran = await districam(site, tmp_path, "clip", "holed", "--from", at(0), "--to", at(40), "-o", "clip.mp4")
    assert (ran.code, ran.out, files(tmp_path)) == (1, "", [])
    assert "broke off near" in ran.error
    assert "and was discarded" in ran.error


async def test_a_clip_with_a_missing_first_object_fails_before_it_starts(site: Site, tmp_path: Path):
    ran = await districam(site, tmp_path, "clip", "headless", "--from", at(0), "--to", at(40))
    assert (ran.code, ran.out, files(tmp_path)) == (1, "", [])
    assert "NoSuchKey" in ran.error


async def test_an_existing_file_is_not_overwritten(site: Site, tmp_path: Path):
    (tmp_path / "clip.mp4").write_text("mine")
    words = ("clip", "lien-nghia-1", "--from", at(0), "--to", at(4), "-o", "clip.mp4")
    assert (await districam(site, tmp_path, *words)).code == 1
    assert (tmp_path / "clip.mp4").read_text() == "mine"
    assert (await districam(site, tmp_path, *words, "--force")).code == 0
    assert numbers(tmp_path / "clip.mp4")[0] == 0


async def test_an_index_that_is_being_built_is_waited_for(site: Site, tmp_path: Path):
    words = ("find", "lien", "--at", at(10))
    await site.redis.hset(names.META, "state", "rebuilding")
    try:
        ran = await districam(site, tmp_path, *words, "--wait", "1")
        assert (ran.code, ran.out) == (1, "")
        assert "--wait SECONDS" in ran.error
        waiting = asyncio.create_task(districam(site, tmp_path, *words))
        await asyncio.sleep(2)
    finally:
        await site.redis.hset(names.META, "state", "ready")
    ran = await waiting
    assert ran.code == 0, ran.error
    assert "retrying in 5 s" in ran.error


async def test_a_key_is_read_from_a_file(site: Site, tmp_path: Path):
    home, words = tmp_path / "api", ("find", "lien", "--at", at(10))
    home.mkdir()
    create = [sys.executable, "-m", "districam_api", "keys", "create", "--role", "viewer", "--name", "script"]
    keys = home / "keys.json"
    settings = {"DISTRICAM_API__KEYS_FILE": str(keys)}
    made = await asyncio.to_thread(
        subprocess.run, create, env=settings, capture_output=True, text=True, timeout=30, check=True
    )
    key = next(word for word in made.stdout.split() if word.startswith("dc_"))
    (home / "key").write_text(f"{key}\n")
    (home / "wrong").write_text("dc_00000000_wrong\n")
    async with api_running(site.s3, site.redis_url, home / "api.log", keys_file=keys) as api:
        for given in ((), ("--key-file", "api/wrong")):
            refused = await districam(api.url, tmp_path, *words, *given)
            assert (refused.code, refused.out) == (3, "")
            assert "--key-file or DISTRICAM_CLIENT__KEY_FILE" in refused.error
        found = await districam(api.url, tmp_path, *words, "--key-file", "api/key")
        assert (found.code, found.error) == (0, "")
        assert found.lines[0].startswith("lien-nghia-1\t")


async def test_an_unreachable_api_is_named(tmp_path: Path):
    ran = await districam("http://127.0.0.1:9", tmp_path, "find", "x")
    assert ran.code == 1
    assert "http://127.0.0.1:9 cannot be reached" in ran.error


def heeds_sigint() -> None:
    """Restores SIGINT's default: shells start background processes with it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_command_leaves_no_file(tmp_path: Path, sent: signal.Signals, code: int):
    """The server starts a clip and then sends nothing more."""

    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nDistricam-From: {at(0)}\r\nDistricam-To: {at(9)}\r\nContent-Length: 999\r\n\r\n"
        writer.write(head.encode() + b"\0\0\0\x10ftypisom")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(stuck, "127.0.0.1", 0) as server, asyncio.timeout(20):
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "districam_client", "clip", "x", "--from", at(0), "--to", at(9),
            cwd=tmp_path, env=environment(f"http://127.0.0.1:{port}"), stderr=subprocess.DEVNULL,
            preexec_fn=heeds_sigint,
        )  # fmt: skip
        while not files(tmp_path):
            await asyncio.sleep(0.05)
        assert files(tmp_path) == ["x.mp4.part"]
        process.send_signal(sent)
        assert await process.wait() == code
    assert files(tmp_path) == []
