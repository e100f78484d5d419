"""What the fields of a camera's record may hold: the same for the operator's file and for a record that comes over Kafka.

A message never repeats a URL: it may hold a password.
"""

import re
from collections.abc import Callable, Iterable
from typing import cast
from urllib.parse import urlsplit

from districam_common.events import Camera
from districam_common.media import CAMERA_ID

TEXT_MOST, GROUPS_MOST = 300, 100
_CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_PASSWORD = re.compile(r"(?i)\b(password|passwd|pass|pwd)=[^&/\s]")

Check = Callable[[object], object]
"""Gives the value as the record has it. Raises ValueError, with what is wrong and what would be right."""


def text(value: object) -> str:
    """1 to 300 printable characters."""
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {value!r}; put it in quotes")  # noqa: TRY004  # one kind of problem
    if not value.strip() or len(value) > TEXT_MOST or not value.isprintable():
        raise ValueError("must be 1 to 300 printable characters")
    return value


def camera_id(value: object) -> str:
    """As it stands in keys and objects."""
    found = text(value)
    if not CAMERA_ID.fullmatch(found):
        raise ValueError(f"{found!r} must be lower-case letters, digits and dashes, 63 at most")
    return found


def credential(value: object) -> str | None:
    """The name of one, or none."""
    if value is None:
        return None
    found = text(value)
    if not _CREDENTIAL.fullmatch(found):
        raise ValueError("must be the name of an entry in the credentials' file: letters, digits, _ . -")
    return found


def url(value: object) -> str:
    """RTSP at a host, without user and password."""
    found = text(value)
    try:
        parts = urlsplit(found)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL; expected rtsp://host:port/path") from None
    if parts.username is not None or parts.password is not None or _PASSWORD.search(found):
        raise ValueError(
            "holds a user or password, which would go onto the topic; put them into the credentials' file as "
            "`NAME: {username: …, password: …}` and write `credential: NAME` here"
        )
    if parts.scheme not in {"rtsp", "rtsps"}:
        raise ValueError(f"scheme {parts.scheme!r} is not rtsp or rtsps")
    if not parts.hostname or port == 0 or any(c.isspace() for c in found):
        raise ValueError("needs a host: rtsp://host:port/path")
    return found


def groups(value: object) -> tuple[str, ...]:
    """Names, 100 at most."""
    if not isinstance(value, list):
        raise ValueError("must be a list of names")  # noqa: TRY004  # one kind of problem
    names = cast("list[object]", value)
    if len(names) > GROUPS_MOST:
        raise ValueError(f"has {len(names)} names; {GROUPS_MOST} at most")
    return tuple(text(one) for one in names)


def number(low: float, high: float) -> Callable[[object], float]:
    """Between these, both included."""

    def check(value: object) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}, not {value!r}")
        return float(value)

    return check


LOCATION: dict[str, Check] = {
    "latitude": number(-90, 90),
    "longitude": number(-180, 180),
    "heading_deg": lambda value: None if value is None else number(0, 360)(value),
    "place": lambda value: None if value is None else text(value),
}


def problem(camera: Camera) -> str | None:
    """What is wrong with a record whose fields have the right types, naming the field; None if nothing is."""
    for name, check, value in _checks(camera):
        try:
            check(value)
        except ValueError as error:
            return f"{name}: {error}"
    return None


def _checks(camera: Camera) -> Iterable[tuple[str, Check, object]]:
    yield "name", text, camera.name
    yield "url", url, camera.url
    yield "credential", credential, camera.credential
    yield "groups", groups, list(camera.groups)
    if camera.location is not None:
        for name, check in LOCATION.items():
            yield f"location.{name}", check, getattr(camera.location, name)
