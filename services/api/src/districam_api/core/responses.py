"""Response bodies as plain JSON values, with instants in UTC and local time; `schemas` describes them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from zoneinfo import ZoneInfo

from districam_api.core import bitmaps
from districam_api.core.health import StreamHealth
from districam_api.core.keys import Caller
from districam_api.core.playlist import SegmentWithUrl
from districam_api.core.search import CameraMatch, Page
from districam_api.core.times import Window, format_local, seconds
from districam_common.contract.events import Camera, Profile
from districam_common.contract.names import SLOT_US, format_rfc3339
from districam_common.ledger.ledger import State, summary

Json = dict[str, Any]


def format_instants(zone: ZoneInfo, **named_us: int | None) -> Iterator[tuple[str, str | None]]:
    """`name` and `name_local` of each instant; None stays None."""
    for name, at_us in named_us.items():
        yield name, None if at_us is None else format_rfc3339(at_us)
        yield f"{name}_local", None if at_us is None else format_local(at_us, zone)


def window_fields(camera_id: str, window: Window, zone: ZoneInfo) -> Json:
    """The requested window."""
    bounds = format_instants(zone, **{"from": window.from_us, "to": window.to_us})
    return {"camera_id": camera_id, **dict(bounds), "tz": zone.key}


def timeline(camera_id: str, window: Window, states: Sequence[State], zone: ZoneInfo) -> Json:
    """The states that tile the window, and their totals."""
    sums = summary(states)
    return {
        **window_fields(camera_id, window, zone),
        "recorded_s": seconds(sums.recorded_us),
        "gap_s": seconds(sums.gap_us),
        "pending_s": seconds(sums.pending_us),
        "states": [_state(state, zone) for state in states],
    }


def _state(state: State, zone: ZoneInfo) -> Json:
    out: Json = {"state": state.state, **dict(format_instants(zone, **{"from": state.from_us, "to": state.to_us}))}
    if state.cause is not None:
        out["cause"] = state.cause
    if state.detail:
        out["detail"] = state.detail
    return out


def playlist_headers(listed: Sequence[SegmentWithUrl], states: Sequence[State]) -> dict[str, str]:
    """`coverage_headers` of a playlist."""
    return coverage_headers(
        min(item.entry.start_us for item in listed), max(item.entry.end_us for item in listed), states
    )


def coverage_headers(from_us: int, to_us: int, states: Sequence[State]) -> dict[str, str]:
    """What an answer holds, and how much of its window is stored and missing."""
    sums = summary(states)
    return {
        "Districam-From": format_rfc3339(from_us),
        "Districam-To": format_rfc3339(to_us),
        "Districam-Recorded-Seconds": f"{seconds(sums.recorded_us):.6f}",
        "Districam-Gap-Seconds": f"{seconds(sums.gap_us):.6f}",
    }


def windows(found: Iterable[tuple[int, int]], zone: ZoneInfo) -> Json:
    """Windows that can each be one clip."""
    return {"windows": [dict(format_instants(zone, **{"from": a, "to": b})) for a, b in found]}


def session(caller: Caller, site: str, zone: ZoneInfo) -> Json:
    """The caller's session."""
    return {
        "site": site,
        "tz": zone.key,
        "how": caller.auth_method,
        "role": caller.role,
        "key_id": caller.key_id,
        "name": caller.name,
        **dict(format_instants(zone, expires=caller.expires_us)),
    }


def segment(item: SegmentWithUrl, zone: ZoneInfo) -> Json:
    """A stored segment; its media starts at byte `init_bytes`."""
    entry = item.entry
    return {
        "key": item.key,
        "url": item.url,
        **dict(format_instants(zone, start=entry.start_us, end=entry.end_us)),
        "start_us": entry.start_us,
        "end_us": entry.end_us,
        "epoch": entry.epoch,
        "first_seq": entry.first_seq,
        "last_seq": entry.last_seq,
        "bytes": entry.bytes,
        "init_bytes": entry.init_bytes,
        "starts_with_keyframe": entry.starts_with_keyframe,
        "lossy": entry.is_lossy,
    }


def cameras(page: Page, healths: Mapping[str, StreamHealth], zone: ZoneInfo) -> Json:
    """A page of cameras; `healths` by id."""
    lines = [{**camera(healths[one.camera.camera_id], zone), **_distance(one)} for one in page.found]
    return {"cameras": lines, "next": page.next_cursor, "tz": zone.key}


def _distance(found: CameraMatch) -> Json:
    return {} if found.distance_m is None else {"distance_m": found.distance_m}


def coverage_at(at_us: int, page: Page, states: Mapping[str, State], zone: ZoneInfo) -> Json:
    """Each camera's state at an instant; `states` by id."""
    lines = [_camera_state(one, states[one.camera.camera_id]) for one in page.found]
    return {**dict(format_instants(zone, at=at_us)), "tz": zone.key, "cameras": lines, "next": page.next_cursor}


def _camera_state(found: CameraMatch, state: State) -> Json:
    known = {"state": state.state, "cause": state.cause, "detail": state.detail}
    return {"camera_id": found.camera.camera_id, **known, **_distance(found)}


def coverage_within(window: Window, page: Page, days: Mapping[str, Sequence[bytes]], zone: ZoneInfo) -> Json:
    """A bitmap per camera of a window of whole slots; `days` are the bitmaps of its days, by id."""
    return {
        **dict(format_instants(zone, **{"from": window.from_us, "to": window.to_us})),
        "slot_s": SLOT_US // 1_000_000,
        "slots": window.length_us // SLOT_US,
        "tz": zone.key,
        "cameras": [_bitmap(one, days[one.camera.camera_id], window) for one in page.found],
        "next": page.next_cursor,
    }


def _bitmap(found: CameraMatch, days: Sequence[bytes], window: Window) -> Json:
    recorded, slots = bitmaps.encode_window(days, window)
    return {"camera_id": found.camera.camera_id, "recorded": recorded, "recorded_slots": slots, **_distance(found)}


def camera(health: StreamHealth, zone: ZoneInfo) -> Json:
    """The newest revision of the record, and the stream's health."""
    record = asdict(health.camera)
    updated_us = record.pop("updated_us")
    return {**record, **dict(format_instants(zone, updated=updated_us)), **_now(health, zone)}


def camera_detail(health: StreamHealth, profile: Profile | None, zone: ZoneInfo) -> Json:
    """`camera`, and its measured profile."""
    profile_fields = None if profile is None else asdict(profile)
    if profile_fields is not None:
        del profile_fields["camera_id"], profile_fields["instance"]
        profile_fields.update(format_instants(zone, at=profile_fields.pop("at_us")))
    return {**camera(health, zone), "profile": profile_fields}


def streams(lines: Sequence[Json], now_us: int, zone: ZoneInfo) -> Json:
    """Current health; `lines` are `stream` of each camera in `not_deleted`."""
    return {**dict(format_instants(zone, at=now_us)), "tz": zone.key, "streams": lines}


def not_deleted(healths: Iterable[StreamHealth]) -> Iterable[StreamHealth]:
    """Those that `streams` lists: a deleted camera has no stream."""
    return (health for health in healths if not health.camera.deleted)


def stream(health: StreamHealth, now_us: int, zone: ZoneInfo) -> Json:
    """A camera's current health."""
    age_us = None if health.last_end_us is None else now_us - health.last_end_us
    return {**_name(health.camera), **_now(health, zone), "age_s": None if age_us is None else seconds(age_us)}


def _name(record: Camera) -> Json:
    place = record.location.place if record.location else None
    return {"camera_id": record.camera_id, "name": record.name, "place": place, "groups": record.groups}


def _now(health: StreamHealth, zone: ZoneInfo) -> Json:
    return {
        "state": health.state,
        "cause": health.cause,
        "detail": health.detail,
        **dict(format_instants(zone, since=health.since_us, last_segment_end=health.last_end_us)),
    }
