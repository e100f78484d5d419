"""Validation of a camera's fields, the same for the operator's file and for records received over Kafka.

Error messages never quote a URL, because it may contain a password.
"""

import difflib
import re
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from districam_common.contract.events import Camera
from districam_common.contract.media import CAMERA_ID

MAX_TEXT_CHARS, MAX_GROUPS = 300, 100
_CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_PASSWORD = re.compile(r"(?i)\b(password|passwd|pass|pwd)=[^&/\s]")
_MANAGED_FIELDS = frozenset({"deleted", "revision", "updated_us"})
"""Fields of the record that districam-cameras sets and the operator's file must not contain."""
_MESSAGE_BY_ERROR_TYPE = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "model_attributes_type": "must be fields and values, as in {latitude: 10.7, longitude: 106.7}",
    "string_type": "must be text (put it in quotes)",
}
"""Replacements for pydantic's messages, in terms of YAML, by pydantic's error type."""


def _text(value: str) -> str:
    if not value.strip() or len(value) > MAX_TEXT_CHARS or not value.isprintable():
        raise ValueError(f"must be 1 to {MAX_TEXT_CHARS} printable characters")
    return value


def _camera_id(value: str) -> str:
    if not CAMERA_ID.fullmatch(value):
        raise ValueError(f"{value!r} must be lower-case letters, digits and dashes, 63 at most")
    return value


def _credential(value: str) -> str:
    if not _CREDENTIAL.fullmatch(value):
        raise ValueError("must be the name of an entry in the credentials' file: letters, digits, _ . -")
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL; expected rtsp://host:port/path") from None
    if parts.username is not None or parts.password is not None or _PASSWORD.search(value):
        raise ValueError(
            "contains a user or password, which would be published on the topic; put them into the credentials' file as "
            "`NAME: {username: …, password: …}` and write `credential: NAME` here"
        )
    if parts.scheme not in {"rtsp", "rtsps"}:
        raise ValueError(f"scheme {parts.scheme!r} is not rtsp or rtsps")
    if not parts.hostname or port == 0 or any(c.isspace() for c in value):
        raise ValueError("needs a host: rtsp://host:port/path")
    return value


def _tuple_to_list(value: object) -> object:
    """Records have tuples where the file has lists, and strict validation accepts lists only."""
    return list(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else value


Text = Annotated[str, AfterValidator(_text)]


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", from_attributes=True)


class LocationEntry(_Entry):
    """`Location`, WGS 84."""

    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    heading_deg: Annotated[float, Field(ge=0, le=360)] | None = None
    place: Text | None = None


class CameraEntry(_Entry):
    """The fields of `Camera` that the operator sets, with the same defaults."""

    camera_id: Annotated[Text, AfterValidator(_camera_id)]
    name: Text
    url: Annotated[Text, AfterValidator(_url)]
    credential: Annotated[Text, AfterValidator(_credential)] | None = None
    transport: Literal["tcp", "udp"] = "tcp"
    reader: Literal["auto", "native", "ffmpeg"] = "auto"
    single_client: bool = False
    enabled: bool = True
    audio: bool = True
    segment_s: Annotated[int, Field(ge=2, le=60)] = 10
    keyframe_interval_s: Annotated[int, Field(ge=1, le=3600)] = 4
    retention_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    groups: Annotated[list[Text], BeforeValidator(_tuple_to_list), Field(max_length=MAX_GROUPS)] = Field(
        default_factory=list
    )
    location: LocationEntry | None = None


def first_problem(camera: Camera) -> str | None:
    """The first validation error of a received record, naming the field; None if it is valid."""
    try:
        CameraEntry.model_validate(camera)
    except ValidationError as error:
        return format_problems(error)[0]
    return None


def format_problems(error: ValidationError) -> list[str]:
    """One line per invalid field: its path, what is wrong, and what is expected."""
    return [f"{'.'.join(map(str, one['loc'])) or 'entry'}: {_format_problem(one)}" for one in error.errors()]


def _format_problem(one: Any) -> str:
    match one["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return _unknown_field(one["loc"])
        case "value_error":
            return str(one["ctx"]["error"])
        case kind:
            message, given = _MESSAGE_BY_ERROR_TYPE.get(kind, _without_prefix(one["msg"])), one["input"]
            is_plain = isinstance(given, str | int | float) and one["loc"] != ("url",)
            return f"{message}, not {given!r:.60}" if is_plain else message


def _unknown_field(path: tuple[str, ...]) -> str:
    *outer, name = path
    if name in _MANAGED_FIELDS and not outer:
        return "is set by districam-cameras itself; remove it"
    known = LocationEntry.model_fields if outer else CameraEntry.model_fields
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"no such field; did you mean {close[0]}?" if close else "no such field; remove it"


def _without_prefix(text: str) -> str:
    message = text.removeprefix("Input ")
    return message[:1].lower() + message[1:]
