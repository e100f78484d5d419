"""Revisions of a camera's record as the index holds them; of what another version wrote, as much as can be understood."""

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
"""Without one of these a revision is passed over: what it would decide may not be guessed."""
ALL_FIELDS = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialCamera(Camera):
    """The newest revision, not all of which this version can read.

    Attributes:
        unread: fields that have their defaults here, since they say what this version does not know (another
            transport); or `*`: nothing of it can be read, and this is the revision before it.
    """

    unread: tuple[str, ...]


@random_cache(1 << 16)
def decode_revision(member: bytes) -> Camera:
    """One revision, which never changes, and each question reads them all.

    Raises:
        WireError: it is none, or a field that decides cannot be read.
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
    """One revision of which everything can be read; None for any other."""
    try:
        found = decode_revision(member)
    except wire.WireError:
        return None
    return found if type(found) is Camera else None


def decode_revisions(members: Iterable[bytes], where: str) -> list[Camera]:
    """Those that can be read, in the order given; the last one says so if a later one can not. `where`: for the log."""
    return [one.camera for one in decode_logged_revisions(members, where)]


def decode_logged_revisions(members: Iterable[bytes], where: str) -> list[Revision]:
    """The same, each once, with when the log took it: a revision stands twice if it was first indexed without that."""
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
    """Whether this is what the camera's record says now; if not, a later revision is there and cannot be read."""
    return not (isinstance(camera, PartialCamera) and ALL_FIELDS in camera.unread)


def _marked_outdated(camera: Camera) -> PartialCamera:
    known = {one.name: getattr(camera, one.name) for one in fields(Camera)}
    return PartialCamera(**known, unread=(ALL_FIELDS,))
