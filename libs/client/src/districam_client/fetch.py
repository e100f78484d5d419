"""`districam clip` and `districam still`: a window or an instant of a camera as a file that is whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx

from districam_client.boxes import Broken, Watched
from districam_client.door import Door, Json, of_camera
from districam_client.errors import DONE, Differing, Ended
from districam_client.files import numbered, target, written
from districam_client.screen import Screen, length
from districam_client.times import iso, us_of

_OFF_US = 250_000
"""Media time and the wall clock, by which the api says where a clip ends, differ by less."""
_JPEG_FRONT, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of which camera, and where to put it."""

    camera_id: str
    output: Path | None
    force: bool
    zone: ZoneInfo


def clip(door: Door, screen: Screen, wanted: Wanted, window_us: tuple[int, int], *, split: bool) -> int:
    """Fetches a clip; `split`: one for each part where the camera's picture changed. Gives the exit code.

    Raises:
        Ended: no whole file came of it.
    """
    bounds = [iso(at_us, wanted.zone) for at_us in window_us]
    try:
        _clip(door, screen, wanted, bounds, wanted.output)
    except Differing as error:
        if not split:
            lines = [
                f"{error}. Each of these can be a clip (--split fetches all):",
                *_commands(wanted, error),
            ]
            raise Ended("\n".join(lines)) from error
        screen.tell(f"{error}: {len(error.parts)} files")
        for number, part in enumerate(error.parts, 1):
            _clip(door, screen, wanted, [part.from_, part.to], numbered(wanted.output, number))
    return DONE


def still(door: Door, screen: Screen, wanted: Wanted, at_us: int) -> int:
    """Fetches the picture of an instant. Gives the exit code.

    Raises:
        Ended: no whole file came of it.
    """
    query = {"at": iso(at_us, wanted.zone), "tz": wanted.zone.key}
    with door.stream(of_camera(wanted.camera_id, "snapshot.jpg"), query) as answer:
        path = _target(wanted, wanted.output, answer, f"{wanted.camera_id}.jpg")
        jpeg = answer.read()
    if not (jpeg.startswith(_JPEG_FRONT) and jpeg.endswith(_JPEG_END)):
        raise Ended("what came is no whole JPEG")
    with written(path) as out:
        out.write(jpeg)
    at = _local(answer, "districam-time", wanted)
    result = {"file": str(path), "camera_id": wanted.camera_id, "at": at, "bytes": len(jpeg)}
    screen.result(result, f"{path}: {wanted.camera_id} at {at}")
    return DONE


def _clip(door: Door, screen: Screen, wanted: Wanted, bounds: Sequence[str], output: Path | None) -> None:
    query = {"from": bounds[0], "to": bounds[1], "tz": wanted.zone.key}
    with door.stream(of_camera(wanted.camera_id, "clip.mp4"), query) as answer:
        path = _target(wanted, output, answer, f"{wanted.camera_id}.mp4")
        held = {name: _local(answer, f"districam-{name}", wanted) for name in ("from", "to")}
        size = _received(answer, screen, path, held, wanted.zone)
    recorded_s, gap_s = (_seconds(answer, f"districam-{name}-seconds") for name in ("recorded", "gap"))
    result = {
        "file": str(path), "camera_id": wanted.camera_id, **held,
        "recorded_s": recorded_s, "gap_s": gap_s, "bytes": size,
    }  # fmt: skip
    told = f"{length(recorded_s)} recorded, {length(gap_s)} missing, {size / 1e6:.1f} MB"
    screen.result(result, f"{path}: {wanted.camera_id} {held['from']} to {held['to']}, {told}")


def _received(answer: httpx.Response, screen: Screen, path: Path, held: Json, zone: ZoneInfo) -> int:
    """Writes what comes; gives its size once it is known to be whole."""
    from_us, to_us = us_of(held["from"]), us_of(held["to"])
    watched = Watched()
    try:
        with written(path) as out, screen.progress(path.name, (to_us - from_us) / 1e6) as advance:
            for data in answer.iter_raw():
                watched.feed(data)
                out.write(data)
                advance(watched.seconds, watched.bytes)
            watched.finish((to_us - from_us - _OFF_US) / 1e6)
    except (Broken, httpx.HTTPError) as error:
        at = iso(from_us + round(watched.seconds * 1e6), zone)
        raise Ended(f"the clip broke off near {at} ({error}); nothing of it was kept: ask again") from error
    return watched.bytes


def _target(wanted: Wanted, output: Path | None, answer: httpx.Response, fallback: str) -> Path:
    return target(output, answer.headers.get("content-disposition", ""), fallback, force=wanted.force)


def _local(answer: httpx.Response, header: str, wanted: Wanted) -> str:
    try:
        return iso(us_of(answer.headers[header]), wanted.zone)
    except (KeyError, ValueError, TypeError) as error:
        raise _foreign(header) from error


def _seconds(answer: httpx.Response, header: str) -> float:
    try:
        return float(answer.headers[header])
    except (KeyError, ValueError) as error:
        raise _foreign(header) from error


def _foreign(header: str) -> Ended:
    return Ended(f"the answer has no {header}: is it districam's api?")


def _commands(wanted: Wanted, error: Differing) -> Iterator[str]:
    for part in error.parts:
        yield f"  districam clip {wanted.camera_id} --from {part.from_local} --to {part.to_local}"
