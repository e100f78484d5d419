"""The native reader on cameras that deviate from the RFCs (docs/cameras.md), many at once in one simulator."""

import asyncio
from collections.abc import Sequence

import pytest

from districam_common.runtime.credentials import Credential
from districam_devkit.simcam import AudioConfig, CameraBehavior, Credentials, SimCamera, Simulation, running, tone
from districam_devkit.simcam.behavior import QUIRKS, QUIRKS_BY_MAKE, Quirk
from districam_ingest.readers.reader import ReadError
from support.readers import SMALL, SMALL_HEVC, are_consecutive, make_reader, read, running_numbers

pytestmark = pytest.mark.timeout(60)

USER, PASSWORD = "admin", "s3cret"
SECONDS = 2.8
"""A session with a timeout of 4 s is kept alive after two."""
KEPT_ALIVE: dict[Quirk, tuple[Quirk, ...]] = {
    "late-cseq": ("get-parameter-refused", "short-timeout"),
    "get-parameter-refused": ("short-timeout",),
    "no-get-parameter": ("short-timeout",),
    "no-keep-alive-response": ("short-timeout",),
}
"""Quirks that show when a session is kept alive, with further quirks that they need."""


def camera(camera_id: str, quirks: Sequence[Quirk], codec: str = "h264") -> SimCamera:
    hearing = AudioConfig(tone=tone("aac")) if "changing-session" in quirks else None
    clip = SMALL if codec == "h264" else SMALL_HEVC
    return SimCamera(camera_id, clip, behavior=CameraBehavior(quirks=frozenset(quirks)), audio=hearing)


async def troubles(cameras: Sequence[SimCamera]) -> dict[str, str]:
    """Reads all cameras at once; returns the errors by camera, empty if there are none."""
    found: dict[str, str] = {}
    reader, credential = make_reader(open_s=20), Credential(USER, PASSWORD)

    async def watch(simulation: Simulation, one: SimCamera) -> None:
        url, with_sound = simulation.url(one.camera_id), one.audio is not None
        opening = reader.open(url, credential, transport="tcp", with_audio=with_sound)
        try:
            async with asyncio.timeout(40), opening as source:
                pictures = await read(source, seconds=SECONDS)
                seen = running_numbers(source.info.codec, pictures)
        except (ReadError, TimeoutError, AssertionError) as error:
            found[one.camera_id] = repr(error)
            return
        if not are_consecutive(seen):
            found[one.camera_id] = f"pictures are missing: {seen}"
        elif any(picture.lost_packets or picture.is_damaged for picture in pictures):
            found[one.camera_id] = "packet loss is reported"

    credentials = Credentials(USER, PASSWORD)
    async with running(cameras, credentials=credentials) as simulation, asyncio.TaskGroup() as tasks:
        for one in cameras:
            tasks.create_task(watch(simulation, one))
    return found


async def test_quirks_lose_no_picture():
    """Each quirk by itself."""
    assert await troubles([camera(quirk, (quirk, *KEPT_ALIVE.get(quirk, ()))) for quirk in QUIRKS]) == {}


async def test_cameras_of_each_make_are_read_completely():
    """All quirks of one make in one camera."""
    cameras = [
        camera(f"{make}-{codec}", [*quirks], codec)
        for make, quirks in QUIRKS_BY_MAKE.items()
        for codec in ("h264", "hevc")
    ]
    assert await troubles(cameras) == {}
