"""Revisions of a camera's record as the index holds them; of what another version wrote, as much as can be understood."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields

from districam_common.contract import wire
from districam_common.contract.events import Camera
from districam_common.index.indexed import appended_us_of
from districam_common.index.remembered import remembered
from districam_common.ledger.expectation import Revision, known_once
from districam_common.runtime.unread import pass_over

DECIDING = frozenset(
    {"camera_id", "name", "url", "enabled", "deleted", "retention_days", "revision", "updated_us"}
)
"""Without one of these a revision is passed over: what it would decide may not be guessed."""
WHOLE = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartlyRead(Camera):
    """The newest revision, not all of which this version can read.

    Attributes:
        unread: fields that have their defaults here, since they say what this version does not know (another
            transport); or `*`: nothing of it can be read, and this is the revision before it.
    """

    unread: tuple[str, ...]


@remembered(1 << 16)
def revision(member: bytes) -> Camera:
    """One revision, which never changes, and each question reads them all.

    Raises:
        WireError: it is none, or a field that decides cannot be read.
    """
    try:
        return wire.parse(Camera, member)
    except wire.WireError as error:
        refused = wire.refused_fields(error)
        if not refused or refused & DECIDING:
            raise
        read = {name: value for name, value in json.loads(member).items() if name not in refused}
        return wire.parse(PartlyRead, json.dumps({**read, "unread": sorted(refused)}))


def whole(member: bytes) -> Camera | None:
    """One revision of which everything can be read; None for any other."""
    try:
        found = revision(member)
    except wire.WireError:
        return None
    return found if type(found) is Camera else None


def revisions(members: Iterable[bytes], where: str) -> list[Camera]:
    """Those that can be read, in the order given; the last one says so if a later one can not. `where`: for the log."""
    return [one.camera for one in dated(members, where)]


def dated(members: Iterable[bytes], where: str) -> list[Revision]:
    """The same, each once, with when the log took it: a revision stands twice if it was first indexed without that."""
    out: list[Revision] = []
    is_last_read = True
    for member in members:
        try:
            out.append(Revision(revision(member), appended_us_of(member)))
            is_last_read = True
            if isinstance(camera := out[-1].camera, PartlyRead):
                pass_over("field", where, ", ".join(camera.unread))
        except wire.WireError as error:
            pass_over("revision", where, str(error))
            is_last_read = False
    out = known_once(out)
    if out and not is_last_read:
        out[-1] = Revision(_outdated(out[-1].camera), out[-1].appended_us)
    return out


def is_known(camera: Camera) -> bool:
    """Whether this is what the camera's record says now; if not, a later revision is there and cannot be read."""
    return not (isinstance(camera, PartlyRead) and WHOLE in camera.unread)


def _outdated(camera: Camera) -> PartlyRead:
    known = {one.name: getattr(camera, one.name) for one in fields(Camera)}
    return PartlyRead(**known, unread=(WHOLE,))
