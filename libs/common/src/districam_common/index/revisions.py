"""Decodes revisions of a camera's record from the index, as far as possible also those written by another version."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields

from districam_common.contract import wire
from districam_common.contract.events import Camera
from districam_common.index.indexed_camera import decode_append_time
from districam_common.index.random_cache import random_cache
from districam_common.ledger.expectation import Revision, distinct_revisions
from districam_common.runtime.unreadable import record_unreadable

REQUIRED_FIELDS = frozenset(
    {"camera_id", "name", "url", "enabled", "deleted", "retention_days", "revision", "updated_us"}
)
"""A revision with one of these missing or malformed is skipped, since defaults for them could be wrong."""
ALL_FIELDS = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialCamera(Camera):
    """The newest revision, decoded in part.

    Attributes:
        unread: fields that have their defaults, since this version cannot decode them (such as an unknown transport);
            or `*`: the newest revision cannot be decoded at all, and this is the one before it.
    """

    unread: tuple[str, ...]


@random_cache(1 << 16)
def decode_revision(member: bytes) -> Camera:
    """Decodes a revision; cached, since revisions never change and queries read all of them.

    Raises:
        WireError: not a camera record, or a required field cannot be decoded.
    """
    try:
        return wire.decode_json(Camera, member)
    except wire.WireError as error:
        refused = wire.invalid_fields(error)
        if not refused or refused & REQUIRED_FIELDS:
            raise
        read = {name: value for name, value in json.loads(member).items() if name not in refused}
        return wire.decode_json(PartialCamera, json.dumps({**read, "unread": sorted(refused)}))


def decode_complete_revision(member: bytes) -> Camera | None:
    """Decodes a revision; None if any field of it cannot be decoded."""
    try:
        found = decode_revision(member)
    except wire.WireError:
        return None
    return found if type(found) is Camera else None


def decode_revisions(members: Iterable[bytes], where: str) -> list[Camera]:
    """The readable revisions in order; a `PartialCamera` at the end if a later one is not. `where`: camera id for the log."""
    return [one.camera for one in decode_logged_revisions(members, where)]


def decode_logged_revisions(members: Iterable[bytes], where: str) -> list[Revision]:
    """As `decode_revisions`, each once, with append time (a revision first indexed without one is stored twice)."""
    out: list[Revision] = []
    is_last_read = True
    for member in members:
        try:
            out.append(Revision(decode_revision(member), decode_append_time(member)))
            is_last_read = True
            if isinstance(camera := out[-1].camera, PartialCamera):
                record_unreadable("field", where, ", ".join(camera.unread))
        except wire.WireError as error:
            record_unreadable("revision", where, str(error))
            is_last_read = False
    out = distinct_revisions(out)
    if out and not is_last_read:
        out[-1] = Revision(_marked_outdated(out[-1].camera), out[-1].appended_us)
    return out


def is_newest_readable(camera: Camera) -> bool:
    """Whether this is the camera's newest revision; if not, a newer one exists that cannot be decoded."""
    return not (isinstance(camera, PartialCamera) and ALL_FIELDS in camera.unread)


def _marked_outdated(camera: Camera) -> PartialCamera:
    known = {one.name: getattr(camera, one.name) for one in fields(Camera)}
    return PartialCamera(**known, unread=(ALL_FIELDS,))
