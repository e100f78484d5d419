"""The routes: read what is asked, ask, answer."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any, cast
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from fastapi import Query as FromQuery
from starlette.responses import JSONResponse, Response

from districam_api import clips, media, schemas
from districam_api.access import By, access_of
from districam_api.core import answers, bitmaps, cursors, search
from districam_api.core.keys import Caller
from districam_api.core.playlist import CONTENT_TYPE, Listed, playlist
from districam_api.core.times import CLIP_MOST_US, PLAYLIST_MOST_US, TIMELINE_MOST_US, Window
from districam_api.footage import Footage, filled, judged, position
from districam_api.hold_book import HoldBook
from districam_api.objects import Objects
from districam_api.problems import PROBLEM, REFUSALS, Refusal
from districam_api.signing import Signing
from districam_api.stills import Decoders, NotDecodable
from districam_common.contract.index import IndexEntry
from districam_common.contract.names import rfc3339, segment_key
from districam_common.runtime.clock import Clock
from districam_common.runtime.turns import in_turns
from districam_common.s3.blobs import Blobs

SEGMENTS_MOST_US = TIMELINE_MOST_US


@dataclass(frozen=True, slots=True)
class Doors:
    """What the routes ask."""

    footage: Footage
    blobs: Blobs
    signing: Signing
    places: clips.Places
    decoders: Decoders
    clock: Clock
    zone: ZoneInfo
    site: str
    holds: HoldBook
    kept: str
    """How long browsers may keep an object: its Cache-Control."""


async def _doors(request: Request) -> Doors:
    """A coroutine, as every dependency here: FastAPI has a thread run what is none."""
    return cast("Doors", request.app.state.doors)


Asked = Annotated[Doors, Depends(_doors)]
router = APIRouter(prefix="/v1", responses=REFUSALS)


@router.get("/cameras", response_model=schemas.Cameras)
async def cameras(doors: Asked, query: Annotated[schemas.CamerasQuery, FromQuery()]) -> Response:
    """Search the cameras by words, group and place."""
    asked, zone = query.filter(), query.zone(doors.zone)
    found = search.page(await doors.footage.records(), asked, query.limit, query.cursor)
    healths = await doors.footage.healths(one.camera for one in found.found)
    return JSONResponse(answers.cameras(found, {one.camera.camera_id: one for one in healths}, zone))


@router.get("/cameras/{camera_id}", response_model=schemas.CameraInFull)
async def camera(doors: Asked, camera_id: str, query: Annotated[schemas.Query, FromQuery()]) -> Response:
    """A camera's record, how its stream is doing, and what it is seen to be."""
    health, profile = await doors.footage.camera(camera_id)
    return JSONResponse(answers.camera_in_full(health, profile, query.zone(doors.zone)))


@router.get("/cameras/{camera_id}/timeline", response_model=schemas.Timeline)
async def timeline(
    doors: Asked, camera_id: str, query: Annotated[schemas.WindowQuery, FromQuery()]
) -> Response:
    """What is known of each instant of a window of at most 31 days: stored, or missing and why."""
    evidence = await doors.footage.evidence(camera_id, query.window(TIMELINE_MOST_US))
    zone = query.zone(doors.zone)
    return JSONResponse(answers.timeline(camera_id, evidence.window, await judged(evidence), zone))


@router.get("/cameras/{camera_id}/segments", response_model=schemas.Segments)
async def segments(
    doors: Asked, caller: By, camera_id: str, query: Annotated[schemas.SegmentsQuery, FromQuery()]
) -> Response:
    """The stored segments that touch a window of at most 31 days, by start, each with its URL."""
    window, zone = query.window(SEGMENTS_MOST_US), query.zone(doors.zone)
    after = cursors.decode(query.cursor, (int, str, int, int)) if query.cursor else None
    found = await doors.footage.page(camera_id, window, after, query.limit + 1, query.epoch)
    listed = _listed(doors, caller, camera_id, found[: query.limit])
    lines = [answers.segment(item, zone) for item in listed]
    following = cursors.encode(position(listed[-1].entry)) if len(found) > len(listed) else None
    return JSONResponse(
        {**answers.asked_window(camera_id, window, zone), "segments": lines, "next": following}
    )


def _listed(doors: Doors, caller: Caller, camera_id: str, found: Iterable[IndexEntry]) -> list[Listed]:
    """The segments with their keys and URLs, all signed for the same time and for who asks."""
    entries = list(found)
    keys = [segment_key(camera_id, entry) for entry in entries]
    urls = doors.signing.media_urls(keys, caller, doors.clock.now_us())
    return list(map(Listed, entries, keys, urls))


def _nothing(timeline: answers.Json) -> Refusal:
    return Refusal(404, "nothing is stored in this window; states say why", timeline)


_PLAYLIST = {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}, "description": "HLS, version 7, VOD"}


@router.get(
    "/cameras/{camera_id}/playlist.m3u8", response_class=Response, responses={200: _PLAYLIST, **REFUSALS}
)
async def playlist_m3u8(
    doors: Asked, caller: By, camera_id: str, query: Annotated[schemas.FootageQuery, FromQuery()]
) -> Response:
    """The footage of a window of at most 24 hours as one playlist; 404 with the causes if there is none."""
    window = query.window(PLAYLIST_MOST_US)
    evidence = await doors.footage.evidence(camera_id, window)
    asked = evidence.of(query.epoch)
    states = await judged(asked)
    found, shown = await filled(asked, states)
    listed = _listed(doors, caller, camera_id, found.played(shown))
    if not listed:
        raise _nothing(answers.timeline(camera_id, window, await judged(evidence), query.zone(doors.zone)))
    media.served("playlist", caller.key_id, camera_id, window.from_us, window.to_us, segments=len(listed))
    held = answers.footage_headers(listed, asked.spanned(states))
    headers = {"Cache-Control": "private, no-cache", **held}
    return Response(playlist(listed), headers=headers, media_type=CONTENT_TYPE)


_VIDEO = {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}}
_CLIP: dict[int | str, dict[str, Any]] = {
    200: {"description": "Fragmented MP4, streamed; Districam-From and -To say what it holds", **_VIDEO},
    404: {"description": "No such camera, or nothing is stored in this window; `states` say why", **PROBLEM},
    409: {"description": "The camera's picture changed; `windows` can each be one clip", **PROBLEM},
    426: {"description": "A clip is sent without its length, so not over HTTP/1.0", **PROBLEM},
}


@router.get(
    "/cameras/{camera_id}/clip.mp4",
    response_class=Response,
    responses=REFUSALS | _CLIP,
    dependencies=[Depends(media.sent_in_pieces)],
)
async def clip_mp4(
    doors: Asked, caller: By, camera_id: str, query: Annotated[schemas.FootageQuery, FromQuery()]
) -> Response:
    """The footage of a window of at most 24 hours as one MP4, from the keyframe at or before its start."""
    window, zone = query.window(CLIP_MOST_US), query.zone(doors.zone)
    evidence = await doors.footage.evidence(camera_id, window)
    asked = evidence.of(query.epoch)
    states = await judged(asked)
    found, to_show = await filled(asked, states)
    shown = found.shown(to_show)
    if not shown:
        raise _nothing(answers.timeline(camera_id, window, await judged(evidence), zone))
    with ExitStack() as until_sent:
        until_sent.enter_context(doors.places.place(caller.key_id))
        try:
            made = await clips.clip(Objects(doors.blobs, camera_id), found, shown)
        except clips.Differing as error:
            raise Refusal(409, str(error), answers.windows(error.windows, zone)) from error
        media.served("clip", caller.key_id, camera_id, made.from_us, made.to_us)
        name = media.file_name(camera_id, made.from_us, "mp4")
        headers = media.as_file(name) | answers.held(made.from_us, made.to_us, asked.spanned(states))
        return media.Streamed(made.content, headers=headers, done=until_sent.pop_all().close)


_JPEG = {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
_SNAPSHOT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture; Districam-Time says since when it is shown", **_JPEG},
    404: {"description": "No such camera, or no picture: `states` say why, or `reason` does", **PROBLEM},
}


@router.get("/cameras/{camera_id}/snapshot.jpg", response_class=Response, responses=REFUSALS | _SNAPSHOT)
async def snapshot_jpg(
    doors: Asked, caller: By, camera_id: str, query: Annotated[schemas.InstantQuery, FromQuery()]
) -> Response:
    """The picture shown at an instant, in full size."""
    at_us, zone = query.instant(), query.zone(doors.zone)
    evidence = await doors.footage.evidence(camera_id, Window(at_us, at_us + 1))
    states = await judged(evidence)
    found, to_show = await filled(evidence, states)
    shown = found.shown(to_show)
    if not shown:
        raise _nothing(answers.timeline(camera_id, evidence.window, states, zone))
    last = shown[-1]
    shown_us = min(at_us, last.to_us - 1)
    gop = await clips.gop(Objects(doors.blobs, camera_id), found, last, shown_us)
    if gop is None:
        raise Refusal(404, "no keyframe is stored in the five minutes before", _NOT_DECODABLE)
    try:
        jpeg, since_us = await doors.decoders.picture(gop.video, shown_us - gop.start_us)
    except NotDecodable as error:
        raise Refusal(404, str(error), _NOT_DECODABLE) from error
    return _picture("snapshot", caller, camera_id, gop.start_us + since_us, jpeg)


_NOT_DECODABLE = {"reason": "not_decodable"}


def _picture(route: str, caller: Caller, camera_id: str, at_us: int, jpeg: bytes) -> Response:
    media.served(route, caller.key_id, camera_id, at_us, at_us)
    headers = media.as_file(media.file_name(camera_id, at_us, "jpg")) | {"Districam-Time": rfc3339(at_us)}
    return Response(jpeg, headers=headers, media_type="image/jpeg")


@router.get("/cameras/{camera_id}/latest.jpg", response_class=Response, responses=REFUSALS | _SNAPSHOT)
async def latest_jpg(
    doors: Asked, caller: By, camera_id: str, query: Annotated[schemas.Query, FromQuery()]
) -> Response:
    """The newest still, small and at most a minute old."""
    del query
    still = await doors.footage.still(camera_id)
    if still is None:
        raise Refusal(404, "there is no still of the last minute")
    return _picture("latest", caller, camera_id, still.at_us, still.jpeg)


@router.get("/streams", response_model=schemas.Streams)
async def streams(doors: Asked, query: Annotated[schemas.Query, FromQuery()]) -> Response:
    """Health now, one line a camera."""
    healths, now_us, zone = await doors.footage.healths(), doors.clock.now_us(), query.zone(doors.zone)
    lines = [answers.stream(one, now_us, zone) async for one in in_turns(answers.listed(healths))]
    return JSONResponse(answers.streams(lines, now_us, zone))


_COVERAGE: dict[int | str, dict[str, Any]] = {200: {"model": schemas.CoverageAt | schemas.CoverageWithin}}


@router.get("/coverage", response_class=JSONResponse, responses=REFUSALS | _COVERAGE)
async def coverage(doors: Asked, query: Annotated[schemas.CoverageQuery, FromQuery()]) -> Response:
    """What is known of an instant, a camera a line; or what is stored of a window of at most 31 days, in bitmaps."""
    when, asked, zone = query.when(TIMELINE_MOST_US), query.filter(), query.zone(doors.zone)
    found = search.page(await doors.footage.records(), asked, query.limit, query.cursor)
    ids = [one.camera.camera_id for one in found.found]
    if isinstance(when, int):
        states = await doors.footage.states_at(ids, when)
        return JSONResponse(answers.covered_at(when, found, states, zone))
    window = bitmaps.widened(when)
    return JSONResponse(answers.covered_within(window, found, await doors.footage.days(ids, window), zone))


_MEDIA: dict[int | str, dict[str, Any]] = {
    200: {"description": "The object", **_VIDEO},
    206: {"description": "The part of it that Range asks for", **_VIDEO},
    304: {"description": "The object is the one that If-None-Match names"},
    403: {"description": "The token is forged or expired, its key revoked or its login ended", **PROBLEM},
    404: {"description": "No such object", **PROBLEM},
    416: {"description": "No byte of the range exists", **PROBLEM},
}


@router.get("/media/{key:path}", response_class=Response, responses=REFUSALS | _MEDIA)
async def media_object(
    doors: Asked,
    request: Request,
    key: str,
    query: Annotated[schemas.MediaQuery, FromQuery()],
    wanted: Annotated[media.Asked, Depends(media.asked)],
) -> Response:
    """A segment's object, or the part that Range asks for. The URL comes from a playlist or a list of segments."""
    checked = doors.signing.media(key, query.token, doors.clock.now_us())
    if checked.verdict != "valid":
        raise Refusal(403, f"the token is {checked.verdict}; ask for the playlist or the segments again")
    if not access_of(request).is_in_force(checked):
        raise Refusal(403, "the key for which this token was made is revoked, or its login was ended")
    request.state.key_id = checked.key_id
    return await media.serve(doors.blobs, key, wanted, checked.key_id, doors.kept)
