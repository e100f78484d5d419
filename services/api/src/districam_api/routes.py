"""The routes of cameras, footage and media."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Any, cast
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from fastapi import Query as FromQuery
from starlette.responses import JSONResponse, Response

from districam_api import clips, media, schemas
from districam_api.access import CurrentCaller, authenticator_of
from districam_api.core import bitmaps, cursors, responses, search
from districam_api.core.keys import Caller
from districam_api.core.playlist import CONTENT_TYPE, SegmentWithUrl, format_playlist
from districam_api.core.times import MAX_CLIP_US, MAX_PLAYLIST_US, MAX_TIMELINE_US, Window
from districam_api.footage import FootageReader, compute_states, extend_over_short_hole, sort_key
from districam_api.hold_service import HoldService
from districam_api.problems import PROBLEM_CONTENT, PROBLEM_RESPONSES, ProblemError
from districam_api.segment_reader import SegmentReader
from districam_api.still_decoder import NotDecodable, StillDecoder
from districam_api.token_signer import TokenSigner
from districam_common.contract.names import format_rfc3339, segment_object_key
from districam_common.contract.segment_array import IndexEntry
from districam_common.runtime.clock import Clock
from districam_common.runtime.cooperative import yield_periodically
from districam_common.s3.blobs import Blobs

MAX_SEGMENTS_US = MAX_TIMELINE_US


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the routes use."""

    footage: FootageReader
    blobs: Blobs
    token_signer: TokenSigner
    clip_slots: clips.ClipSlots
    still_decoder: StillDecoder
    clock: Clock
    zone: ZoneInfo
    site: str
    holds: HoldService
    media_cache_control: str
    """Cache-Control of media objects."""


async def _dependencies(request: Request) -> Dependencies:
    """A coroutine, as are all dependencies here: FastAPI runs other functions in a thread."""
    return cast("Dependencies", request.app.state.deps)


Deps = Annotated[Dependencies, Depends(_dependencies)]
router = APIRouter(prefix="/v1", responses=PROBLEM_RESPONSES)


@router.get("/cameras", response_model=schemas.Cameras)
async def cameras(deps: Deps, query: Annotated[schemas.CamerasQuery, FromQuery()]) -> Response:
    """Searches cameras by words, group and place."""
    camera_filter, zone = query.filter(), query.zone(deps.zone)
    found = search.page(await deps.footage.camera_records(), camera_filter, query.limit, query.cursor)
    healths = await deps.footage.healths(one.camera for one in found.found)
    return JSONResponse(responses.cameras(found, {one.camera.camera_id: one for one in healths}, zone))


@router.get("/cameras/{camera_id}", response_model=schemas.CameraInFull)
async def camera(deps: Deps, camera_id: str, query: Annotated[schemas.Query, FromQuery()]) -> Response:
    """A camera's record, its stream's health, and its measured profile."""
    health, profile = await deps.footage.camera(camera_id)
    return JSONResponse(responses.camera_detail(health, profile, query.zone(deps.zone)))


@router.get("/cameras/{camera_id}/timeline", response_model=schemas.Timeline)
async def timeline(deps: Deps, camera_id: str, query: Annotated[schemas.WindowQuery, FromQuery()]) -> Response:
    """The state of each instant in a window of at most 31 days: stored, or missing and why."""
    records = await deps.footage.window_records(camera_id, query.window(MAX_TIMELINE_US))
    zone = query.zone(deps.zone)
    return JSONResponse(responses.timeline(camera_id, records.window, await compute_states(records), zone))


@router.get("/cameras/{camera_id}/segments", response_model=schemas.Segments)
async def segments(
    deps: Deps, caller: CurrentCaller, camera_id: str, query: Annotated[schemas.SegmentsQuery, FromQuery()]
) -> Response:
    """The stored segments that intersect a window of at most 31 days, by start, each with its URL."""
    window, zone = query.window(MAX_SEGMENTS_US), query.zone(deps.zone)
    after = cursors.decode(query.cursor, (int, str, int, int)) if query.cursor else None
    found = await deps.footage.page(camera_id, window, after, query.limit + 1, query.epoch)
    listed = _with_urls(deps, caller, camera_id, found[: query.limit])
    lines = [responses.segment(item, zone) for item in listed]
    following = cursors.encode(sort_key(listed[-1].entry)) if len(found) > len(listed) else None
    return JSONResponse({**responses.window_fields(camera_id, window, zone), "segments": lines, "next": following})


def _with_urls(deps: Dependencies, caller: Caller, camera_id: str, found: Iterable[IndexEntry]) -> list[SegmentWithUrl]:
    """The segments with object keys and URLs, signed for this caller with one expiry."""
    entries = list(found)
    keys = [segment_object_key(camera_id, entry) for entry in entries]
    urls = deps.token_signer.sign_media_urls(keys, caller, deps.clock.now_us())
    return list(map(SegmentWithUrl, entries, keys, urls))


def _no_footage(timeline: responses.Json) -> ProblemError:
    return ProblemError(404, "nothing is stored in this window; `states` has the causes", timeline)


_PLAYLIST = {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}, "description": "HLS, version 7, VOD"}


@router.get(
    "/cameras/{camera_id}/playlist.m3u8", response_class=Response, responses={200: _PLAYLIST, **PROBLEM_RESPONSES}
)
async def playlist_m3u8(
    deps: Deps, caller: CurrentCaller, camera_id: str, query: Annotated[schemas.FootageQuery, FromQuery()]
) -> Response:
    """The footage of a window of at most 24 hours as one HLS playlist; 404 with the causes if there is none."""
    window = query.window(MAX_PLAYLIST_US)
    records = await deps.footage.window_records(camera_id, window)
    epoch_records = records.for_epoch(query.epoch)
    states = await compute_states(epoch_records)
    extended, extended_states = await extend_over_short_hole(epoch_records, states)
    listed = _with_urls(deps, caller, camera_id, extended.cover_entries(extended_states))
    if not listed:
        raise _no_footage(responses.timeline(camera_id, window, await compute_states(records), query.zone(deps.zone)))
    media.log_served("playlist", caller.key_id, camera_id, window.from_us, window.to_us, segments=len(listed))
    coverage_headers = responses.playlist_headers(listed, epoch_records.clip_states(states))
    headers = {"Cache-Control": "private, no-cache", **coverage_headers}
    return Response(format_playlist(listed), headers=headers, media_type=CONTENT_TYPE)


_VIDEO = {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}}
_CLIP: dict[int | str, dict[str, Any]] = {
    200: {"description": "Fragmented MP4, streamed; Districam-From and -To say what it holds", **_VIDEO},
    404: {
        "description": "No such camera, or nothing is stored in this window; `states` has the causes",
        **PROBLEM_CONTENT,
    },
    409: {
        "description": "Codec parameters change inside the window; `windows` can each be one clip",
        **PROBLEM_CONTENT,
    },
    426: {"description": "A clip is sent without Content-Length, so not over HTTP/1.0", **PROBLEM_CONTENT},
}


@router.get(
    "/cameras/{camera_id}/clip.mp4",
    response_class=Response,
    responses=PROBLEM_RESPONSES | _CLIP,
    dependencies=[Depends(media.require_http_1_1)],
)
async def clip_mp4(
    deps: Deps, caller: CurrentCaller, camera_id: str, query: Annotated[schemas.FootageQuery, FromQuery()]
) -> Response:
    """The footage of a window of at most 24 hours as one MP4, from the keyframe at or before its start."""
    window, zone = query.window(MAX_CLIP_US), query.zone(deps.zone)
    records = await deps.footage.window_records(camera_id, window)
    epoch_records = records.for_epoch(query.epoch)
    states = await compute_states(epoch_records)
    extended, extended_states = await extend_over_short_hole(epoch_records, states)
    cover = extended.cover(extended_states)
    if not cover:
        raise _no_footage(responses.timeline(camera_id, window, await compute_states(records), zone))
    with ExitStack() as until_sent:
        until_sent.enter_context(deps.clip_slots.acquire(caller.key_id))
        try:
            clip = await clips.build_clip(SegmentReader(deps.blobs, camera_id), extended, cover)
        except clips.ParametersChanged as error:
            raise ProblemError(409, str(error), responses.windows(error.windows, zone)) from error
        media.log_served("clip", caller.key_id, camera_id, clip.from_us, clip.to_us)
        name = media.download_name(camera_id, clip.from_us, "mp4")
        headers = media.download_headers(name) | responses.coverage_headers(
            clip.from_us, clip.to_us, epoch_records.clip_states(states)
        )
        return media.MediaStreamingResponse(clip.content, headers=headers, on_close=until_sent.pop_all().close)


_JPEG = {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
_SNAPSHOT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture; Districam-Time says since when it is shown", **_JPEG},
    404: {"description": "No such camera, or no picture; `states` or `reason` has the cause", **PROBLEM_CONTENT},
}


@router.get("/cameras/{camera_id}/snapshot.jpg", response_class=Response, responses=PROBLEM_RESPONSES | _SNAPSHOT)
async def snapshot_jpg(
    deps: Deps, caller: CurrentCaller, camera_id: str, query: Annotated[schemas.InstantQuery, FromQuery()]
) -> Response:
    """The picture shown at an instant, in full size."""
    at_us, zone = query.instant(), query.zone(deps.zone)
    records = await deps.footage.window_records(camera_id, Window(at_us, at_us + 1))
    states = await compute_states(records)
    extended, extended_states = await extend_over_short_hole(records, states)
    cover = extended.cover(extended_states)
    if not cover:
        raise _no_footage(responses.timeline(camera_id, records.window, states, zone))
    last = cover[-1]
    picture_us = min(at_us, last.to_us - 1)
    gop = await clips.read_gop(SegmentReader(deps.blobs, camera_id), extended, last, picture_us)
    if gop is None:
        raise ProblemError(404, "no keyframe is stored in the five minutes before this instant", _NOT_DECODABLE)
    try:
        jpeg, since_us = await deps.still_decoder.decode_at(gop.video, picture_us - gop.start_us)
    except NotDecodable as error:
        raise ProblemError(404, str(error), _NOT_DECODABLE) from error
    return _jpeg_response("snapshot", caller, camera_id, gop.start_us + since_us, jpeg)


_NOT_DECODABLE = {"reason": "not_decodable"}


def _jpeg_response(route: str, caller: Caller, camera_id: str, at_us: int, jpeg: bytes) -> Response:
    media.log_served(route, caller.key_id, camera_id, at_us, at_us)
    headers = media.download_headers(media.download_name(camera_id, at_us, "jpg")) | {
        "Districam-Time": format_rfc3339(at_us)
    }
    return Response(jpeg, headers=headers, media_type="image/jpeg")


@router.get("/cameras/{camera_id}/latest.jpg", response_class=Response, responses=PROBLEM_RESPONSES | _SNAPSHOT)
async def latest_jpg(
    deps: Deps, caller: CurrentCaller, camera_id: str, query: Annotated[schemas.Query, FromQuery()]
) -> Response:
    """The newest still, small and at most a minute old."""
    del query
    still = await deps.footage.still(camera_id)
    if still is None:
        raise ProblemError(404, "there is no still of the last minute")
    return _jpeg_response("latest", caller, camera_id, still.at_us, still.jpeg)


@router.get("/streams", response_model=schemas.Streams)
async def streams(deps: Deps, query: Annotated[schemas.Query, FromQuery()]) -> Response:
    """The current health of every camera's stream."""
    healths, now_us, zone = await deps.footage.healths(), deps.clock.now_us(), query.zone(deps.zone)
    lines = [responses.stream(one, now_us, zone) async for one in yield_periodically(responses.not_deleted(healths))]
    return JSONResponse(responses.streams(lines, now_us, zone))


_COVERAGE: dict[int | str, dict[str, Any]] = {200: {"model": schemas.CoverageAt | schemas.CoverageWithin}}


@router.get("/coverage", response_class=JSONResponse, responses=PROBLEM_RESPONSES | _COVERAGE)
async def coverage(deps: Deps, query: Annotated[schemas.CoverageQuery, FromQuery()]) -> Response:
    """Each camera's state at an instant; or bitmaps of what is stored in a window of at most 31 days."""
    when, camera_filter, zone = query.when(MAX_TIMELINE_US), query.filter(), query.zone(deps.zone)
    found = search.page(await deps.footage.camera_records(), camera_filter, query.limit, query.cursor)
    ids = [one.camera.camera_id for one in found.found]
    if isinstance(when, int):
        states = await deps.footage.states_at(ids, when)
        return JSONResponse(responses.coverage_at(when, found, states, zone))
    window = bitmaps.align_to_slots(when)
    return JSONResponse(responses.coverage_within(window, found, await deps.footage.day_bitmaps(ids, window), zone))


_MEDIA: dict[int | str, dict[str, Any]] = {
    200: {"description": "The object", **_VIDEO},
    206: {"description": "The requested range", **_VIDEO},
    304: {"description": "The object is the one that If-None-Match names"},
    403: {"description": "The token is forged or expired, or its key or login is revoked", **PROBLEM_CONTENT},
    404: {"description": "No such object", **PROBLEM_CONTENT},
    416: {"description": "No byte of the range exists", **PROBLEM_CONTENT},
}


@router.get("/media/{key:path}", response_class=Response, responses=PROBLEM_RESPONSES | _MEDIA)
async def media_object(
    deps: Deps,
    request: Request,
    key: str,
    query: Annotated[schemas.MediaQuery, FromQuery()],
    range_headers: Annotated[media.RangeHeaders, Depends(media.parse_range_headers)],
) -> Response:
    """A segment's object, or the range of it that Range names. URLs come from a playlist or a list of segments."""
    checked = deps.token_signer.verify_media(key, query.token, deps.clock.now_us())
    if checked.verdict != "valid":
        raise ProblemError(403, f"the token is {checked.verdict}; ask for the playlist or the segments again")
    if not authenticator_of(request).is_active(checked):
        raise ProblemError(403, "the key or the login of this token is revoked")
    request.state.key_id = checked.key_id
    return await media.serve_object(deps.blobs, key, range_headers, checked.key_id, deps.media_cache_control)
