"""What routes say, as plain JSON values: every instant in UTC and in local time. `schemas` describes the same shapes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any
from zoneinfo import ZoneInfo

from districam_api.core.health import Health
from districam_api.core.playlist import Listed
from districam_api.core.times import Window, local, seconds
from districam_common.events import Camera, Profile
from districam_common.ledger import State, summary
from districam_common.names import rfc3339

Json = dict[str, Any]


def instants(zone: ZoneInfo, **named_us: int | None) -> Iterator[tuple[str, str | None]]:
    """`name` and `name_local` of each; an unknown one is null."""
    for name, at_us in named_us.items():
        yield name, None if at_us is None else rfc3339(at_us)
        yield f"{name}_local", None if at_us is None else local(at_us, zone)


def asked_window(camera_id: str, window: Window, zone: ZoneInfo) -> Json:
    """What was asked."""
    bounds = instants(zone, **{"from": window.from_us, "to": window.to_us})
    return {"camera_id": camera_id, **dict(bounds), "tz": zone.key}


def timeline(camera_id: str, window: Window, states: Sequence[State], zone: ZoneInfo) -> Json:
    """The states that tile the window, and their sums."""
    sums = summary(states)
    return {
        **asked_window(camera_id, window, zone),
        "recorded_s": seconds(sums.recorded_us),
        "gap_s": seconds(sums.gap_us),
        "pending_s": seconds(sums.pending_us),
        "states": [_state(state, zone) for state in states],
    }


def _state(state: State, zone: ZoneInfo) -> Json:
    out: Json = {
        "state": state.state,
        **dict(instants(zone, **{"from": state.from_us, "to": state.to_us})),
    }
    if state.cause is not None:
        out["cause"] = state.cause
    if state.detail:
        out["detail"] = state.detail
    return out


def footage_headers(listed: Sequence[Listed], states: Sequence[State]) -> dict[str, str]:
    """`held` of a playlist."""
    return held(
        min(item.entry.start_us for item in listed), max(item.entry.end_us for item in listed), states
    )


def held(from_us: int, to_us: int, states: Sequence[State]) -> dict[str, str]:
    """What an answer really holds, beside what of its window is stored and missing."""
    sums = summary(states)
    return {
        "Districam-From": rfc3339(from_us),
        "Districam-To": rfc3339(to_us),
        "Districam-Recorded-Seconds": f"{seconds(sums.recorded_us):.6f}",
        "Districam-Gap-Seconds": f"{seconds(sums.gap_us):.6f}",
    }


def windows(found: Iterable[tuple[int, int]], zone: ZoneInfo) -> Json:
    """Windows that can each be asked for."""
    return {"windows": [dict(instants(zone, **{"from": a, "to": b})) for a, b in found]}


def segment(item: Listed, zone: ZoneInfo) -> Json:
    """A stored segment; `bytes` from `init_bytes` on are its media."""
    entry = item.entry
    return {
        "key": item.key,
        "url": item.url,
        **dict(instants(zone, start=entry.start_us, end=entry.end_us)),
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


def camera(health: Health, zone: ZoneInfo) -> Json:
    """The newest revision of the record, and how the stream is doing."""
    record = asdict(health.camera)
    updated_us = record.pop("updated_us")
    return {**record, **dict(instants(zone, updated=updated_us)), **_now(health, zone)}


def camera_in_full(health: Health, profile: Profile | None, zone: ZoneInfo) -> Json:
    """`camera`, and what it is seen to be."""
    seen = None if profile is None else asdict(profile)
    if seen is not None:
        del seen["camera_id"], seen["instance"]
        seen.update(instants(zone, at=seen.pop("at_us")))
    return {**camera(health, zone), "profile": seen}


def streams(healths: Iterable[Health], now_us: int, zone: ZoneInfo) -> Json:
    """Health now, one line a camera that is not deleted."""
    lines = [_line(health, now_us, zone) for health in healths if not health.camera.deleted]
    return {**dict(instants(zone, at=now_us)), "tz": zone.key, "streams": lines}


def _line(health: Health, now_us: int, zone: ZoneInfo) -> Json:
    age_us = None if health.last_end_us is None else now_us - health.last_end_us
    return {
        **_name(health.camera),
        **_now(health, zone),
        "age_s": None if age_us is None else seconds(age_us),
    }


def _name(record: Camera) -> Json:
    place = record.location.place if record.location else None
    return {"camera_id": record.camera_id, "name": record.name, "place": place, "groups": record.groups}


def _now(health: Health, zone: ZoneInfo) -> Json:
    return {
        "state": health.state,
        "cause": health.cause,
        "detail": health.detail,
        **dict(instants(zone, since=health.since_us, last_segment_end=health.last_end_us)),
    }
