"""An api with footage for the page: digits in the picture, a gap, H.265, nearly silent audio, and keys."""

# redis-py's types are partial:
# pyright: reportUnknownMemberType=false

import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr
from redis.asyncio import Redis

from districam_common.contract import names, wire
from districam_common.contract.events import Camera, CameraEvent, Connected, Location, Lost
from districam_common.mp4.writer import AudioSample
from districam_common.runtime.settings import S3Settings
from districam_devkit.servers import Servers, valkey
from districam_devkit.simcam.clips import Generated
from districam_ingest.codec import h264
from districam_ingest.codec.aac import parse_audio_specific_config
from districam_ingest.output.boxes import encode_moof_mdat
from districam_ingest.output.mux import mux_init
from support.api_process import ApiProcess, api_running, create_stocked_bucket, populate_index
from support.numbered_footage import NumberedFootage, make_numbered_segments, open_footage
from support.segment_objects import SegmentObject

S = 1_000_000
FPS = 25
NOW_US = time.time_ns() // 1000
START_US = (NOW_US // S - 900) * S
"""Footage starts here, a quarter of an hour ago, and lasts `LASTS_S`; picture `n` is n / 25 s later."""
FOOTAGE_S, GAP_S = 300, (180, 200)
LOOP_S = 60
AAC_16_KHZ = bytes.fromhex("1408")
CROSSROADS, MARKET, HEVC, STATION = "cam-001", "cam-002", "cam-003", "cam-004"
EPOCHS = [f"01900000-0000-7000-8000-00000000000{n}" for n in range(9)]


def _camera(camera_id: str, name: str, place: str, latitude: float, longitude: float) -> Camera:
    where = Location(latitude=latitude, longitude=longitude, place=place)
    return Camera(
        camera_id=camera_id, name=name, url=f"rtsp://10.0.0.1/{camera_id}", location=where,
        groups=("giao-thong",), updated_us=START_US - 2 * 3600 * S,
    )  # fmt: skip


CAMERAS = [
    _camera(CROSSROADS, "Ngã tư Liên Nghĩa", "Quốc lộ 20, Liên Nghĩa, Đức Trọng", 11.7524, 108.3702),
    _camera(MARKET, "Cổng chợ Tùng Nghĩa", "Chợ Tùng Nghĩa, Đức Trọng", 11.7498, 108.3655),
    _camera(HEVC, "Cầu Đại Ninh", "Cầu Đại Ninh, Phú Hội", 11.6461, 108.3089),
    _camera(STATION, "Bến xe Đức Trọng", "Bến xe Đức Trọng, Liên Nghĩa", 11.7461, 108.3741),
]


def _generated(label: str) -> Generated:
    return Generated(width=320, height=180, seconds=LOOP_S, bitrate=200_000, label=label)


def _make_objects() -> dict[str, list[SegmentObject]]:
    crossroads = open_footage(CROSSROADS, START_US, _generated("A"))
    market = open_footage(MARKET, START_US, _generated("B"))
    bridge = open_footage(HEVC, START_US, Generated(codec="hevc", width=320, height=180, bitrate=300_000))
    before, after = range(GAP_S[0] * FPS), range(GAP_S[1] * FPS, FOOTAGE_S * FPS)
    return {
        CROSSROADS: [
            *make_numbered_segments(crossroads, EPOCHS[1], before),
            *make_numbered_segments(crossroads, EPOCHS[2], after),
        ],
        MARKET: [_with_audio(one, market) for one in make_numbered_segments(market, EPOCHS[3], range(FOOTAGE_S * FPS))],
        HEVC: make_numbered_segments(bridge, EPOCHS[4], range(FOOTAGE_S * FPS)),
    }


def _with_audio(made: SegmentObject, source: NumberedFootage) -> SegmentObject:
    """Adds an audio track as ingest writes it, nearly all silence."""
    audio_parameters = parse_audio_specific_config(AAC_16_KHZ, 16_000)
    shape = h264.parse_video_parameters(source.clip.parameter_sets)
    init = mux_init(shape, source.clip.parameter_sets, audio_parameters)
    numbers = range(*((us - START_US) * FPS // S for us in (made.entry.start_us, made.entry.end_us)))
    units = [source.access_unit(number, 0) for number in numbers]
    first_us = units[0].start_us
    audio_units = [AudioSample(audio_parameters.silent_unit, first_us * 16 // 1000 + n * 1024, 1024) for n in range(8)]
    fragments = [
        encode_moof_mdat(units[n : n + FPS], 90_000 // FPS, audio_units if n == 0 else ())
        for n in range(0, len(units), FPS)
    ]
    content = init + b"".join(fragments)
    entry = replace(made.entry, bytes=len(content), init_bytes=len(init))
    return SegmentObject(names.segment_object_key(source.camera_id, entry), entry, content)


def _events() -> list[CameraEvent]:
    def connected(camera_id: str, epoch: str, at_s: float) -> Connected:
        return Connected(
            camera_id=camera_id, at_us=START_US + round(at_s * S), instance="host-1", epoch=epoch, reader="native",
            transport="tcp", codecs="avc1.640028", width=320, height=180,
        )  # fmt: skip

    def lost(camera_id: str, epoch: str, at_s: float, last_seq: int) -> Lost:
        at_us = START_US + round(at_s * S)
        return Lost(
            camera_id=camera_id, at_us=at_us, instance="host-1", epoch=epoch, last_seq=last_seq, end_us=at_us,
            cause="source_silent", detail="no picture for 10 s", next_retry_s=86_400,
        )  # fmt: skip

    return [
        connected(CROSSROADS, EPOCHS[1], 0),
        lost(CROSSROADS, EPOCHS[1], GAP_S[0], GAP_S[0] - 1),
        connected(CROSSROADS, EPOCHS[2], GAP_S[1]),
        lost(CROSSROADS, EPOCHS[2], FOOTAGE_S, FOOTAGE_S - GAP_S[1] - 1),
        connected(MARKET, EPOCHS[3], 0),
        lost(MARKET, EPOCHS[3], FOOTAGE_S, FOOTAGE_S - 1),
        connected(HEVC, EPOCHS[4], 0),
        lost(HEVC, EPOCHS[4], FOOTAGE_S, FOOTAGE_S - 1),
    ]


@dataclass(frozen=True, slots=True)
class PageSite:
    """The same footage behind two apis: one on loopback without keys, one that requires `key`."""

    keyless_api: ApiProcess
    keyed_api: ApiProcess
    key: str


@asynccontextmanager
async def running_page_site(servers: Servers, home: Path) -> AsyncGenerator[PageSite]:
    s3 = S3Settings(
        endpoint=servers.s3.url,
        access_key=servers.s3.access_key,
        secret_key=SecretStr(servers.s3.secret_key),
        bucket=f"test-page-{NOW_US}",
    )
    made = _make_objects()
    await create_stocked_bucket(s3, made)
    keys = home / "keys.json"
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(valkey.running(home / "data", log_dir=home))
        async with Redis.from_url(server.url) as redis:
            await populate_index(redis, CAMERAS, made, watermark_us=NOW_US)
            for event in _events():
                member = wire.encode_indexed_event(event, event.at_us + S)
                await redis.zadd(names.events_key(event.camera_id), {member: event.at_us})
        key = _new_key(keys)
        without = await stack.enter_async_context(api_running(s3, server.url, home / "open.log"))
        locked = await stack.enter_async_context(api_running(s3, server.url, home / "locked.log", keys_file=keys))
        yield PageSite(without, locked, key)


def _new_key(keys: Path) -> str:
    made = subprocess.run(
        [sys.executable, "-m", "districam_api", "keys", "create", "--role", "viewer", "--name", "duty"],
        env={"DISTRICAM_API__KEYS_FILE": str(keys)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return next(word for word in made.stdout.split() if word.startswith("dc_"))
