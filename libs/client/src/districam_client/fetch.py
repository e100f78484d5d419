"""`districam clip` and `districam still`: a camera's footage in a file that is complete or absent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx

from districam_client.api_client import ApiClient, Json, camera_path
from districam_client.errors import EXIT_OK, CommandError, ParametersChanged
from districam_client.files import numbered, open_atomic, target
from districam_client.mp4_checker import FragmentedMp4Checker, InvalidMp4
from districam_client.screen import Screen, length
from districam_client.times import format_iso, parse_us

_DURATION_TOLERANCE_US = 250_000
"""Media time differs by less from the wall clock, by which the api says where a clip ends."""
_JPEG_SOI, _JPEG_EOI = b"\xff\xd8\xff", b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """The camera, where to write, and the zone of local times."""

    camera_id: str
    output: Path | None
    force: bool
    zone: ZoneInfo


def clip(client: ApiClient, screen: Screen, options: FetchOptions, window_us: tuple[int, int], *, split: bool) -> int:
    """Fetches a clip; with `split`, one for each part where codec parameters change. Returns the exit code.

    Raises:
        CommandError: no complete file was received.
    """
    bounds = [format_iso(at_us, options.zone) for at_us in window_us]
    try:
        _clip(client, screen, options, bounds, options.output)
    except ParametersChanged as error:
        if not split:
            lines = [f"{error}. Each of these can be a clip (--split fetches all):", *_commands(options, error)]
            raise CommandError("\n".join(lines)) from error
        screen.notify(f"{error}: {len(error.windows)} files")
        for number, window in enumerate(error.windows, 1):
            _clip(client, screen, options, [window.from_, window.to], numbered(options.output, number))
    return EXIT_OK


def still(client: ApiClient, screen: Screen, options: FetchOptions, at_us: int) -> int:
    """Fetches the picture of an instant. Returns the exit code.

    Raises:
        CommandError: no complete file was received.
    """
    query = {"at": format_iso(at_us, options.zone), "tz": options.zone.key}
    with client.stream(camera_path(options.camera_id, "snapshot.jpg"), query) as answer:
        path = _target(options, options.output, answer, f"{options.camera_id}.jpg")
        jpeg = answer.read()
    if not (jpeg.startswith(_JPEG_SOI) and jpeg.endswith(_JPEG_EOI)):
        raise CommandError("the received JPEG is incomplete")
    with open_atomic(path) as out:
        out.write(jpeg)
    at = _local(answer, "districam-time", options)
    result = {"file": str(path), "camera_id": options.camera_id, "at": at, "bytes": len(jpeg)}
    screen.result(result, f"{path}: {options.camera_id} at {at}")
    return EXIT_OK


def _clip(client: ApiClient, screen: Screen, options: FetchOptions, bounds: Sequence[str], output: Path | None) -> None:
    query = {"from": bounds[0], "to": bounds[1], "tz": options.zone.key}
    with client.stream(camera_path(options.camera_id, "clip.mp4"), query) as answer:
        path = _target(options, output, answer, f"{options.camera_id}.mp4")
        reported_bounds = {name: _local(answer, f"districam-{name}", options) for name in ("from", "to")}
        size = _write_clip(answer, screen, path, reported_bounds, options.zone)
    recorded_s, gap_s = (_seconds(answer, f"districam-{name}-seconds") for name in ("recorded", "gap"))
    result = {
        "file": str(path), "camera_id": options.camera_id, **reported_bounds,
        "recorded_s": recorded_s, "gap_s": gap_s, "bytes": size,
    }  # fmt: skip
    summary = f"{length(recorded_s)} recorded, {length(gap_s)} missing, {size / 1e6:.1f} MB"
    screen.result(
        result, f"{path}: {options.camera_id} {reported_bounds['from']} to {reported_bounds['to']}, {summary}"
    )


def _write_clip(answer: httpx.Response, screen: Screen, path: Path, reported_bounds: Json, zone: ZoneInfo) -> int:
    """Writes the clip; returns its size once it is known to be complete."""
    from_us, to_us = parse_us(reported_bounds["from"]), parse_us(reported_bounds["to"])
    checker = FragmentedMp4Checker()
    try:
        with open_atomic(path) as out, screen.progress(path.name, (to_us - from_us) / 1e6) as advance:
            for data in answer.iter_raw():
                checker.feed(data)
                out.write(data)
                advance(checker.newest_start_s, checker.received_bytes)
            checker.close((to_us - from_us - _DURATION_TOLERANCE_US) / 1e6)
    except (InvalidMp4, httpx.HTTPError) as error:
        at = format_iso(from_us + round(checker.newest_start_s * 1e6), zone)
        raise CommandError(f"the clip broke off near {at} ({error}) and was discarded; try again") from error
    return checker.received_bytes


def _target(options: FetchOptions, output: Path | None, answer: httpx.Response, fallback: str) -> Path:
    return target(output, answer.headers.get("content-disposition", ""), fallback, force=options.force)


def _local(answer: httpx.Response, header: str, options: FetchOptions) -> str:
    try:
        return format_iso(parse_us(answer.headers[header]), options.zone)
    except (KeyError, ValueError, TypeError) as error:
        raise _missing_header(header) from error


def _seconds(answer: httpx.Response, header: str) -> float:
    try:
        return float(answer.headers[header])
    except (KeyError, ValueError) as error:
        raise _missing_header(header) from error


def _missing_header(header: str) -> CommandError:
    return CommandError(f"the answer has no {header}: is it districam's api?")


def _commands(options: FetchOptions, error: ParametersChanged) -> Iterator[str]:
    for window in error.windows:
        yield f"  districam clip {options.camera_id} --from {window.from_local} --to {window.to_local}"
