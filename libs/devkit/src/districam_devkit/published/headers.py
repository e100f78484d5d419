"""JSON Schemas of the records' headers: CloudEvents 1.0 attributes in Kafka's binary mode, as UTF-8 text."""

from typing import Any

from districam_common.contract.media import CAMERA_ID, CODECS, EPOCH, SITE_ID, FragmentInfo, Still
from districam_devkit.published.schemas import Schema, attribute_docs

_NUMBER = "(0|[1-9][0-9]{0,9})"
_INSTANT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
_UUID = EPOCH.pattern

_FRAGMENT: dict[str, tuple[str, Schema]] = {
    "ce_epoch": ("epoch", {"pattern": _UUID}),
    "ce_seq": ("seq", {"pattern": _NUMBER}),
    "ce_durationus": ("duration_us", {"pattern": _NUMBER}),
    "ce_initlength": ("init_length", {"pattern": _NUMBER}),
    "ce_keyframe": ("is_keyframe", {"enum": ["true", "false"]}),
    "ce_starts": ("starts_segment", {"enum": ["segment"]}),
    "ce_ends": ("ends", {"enum": ["segment", "epoch"]}),
    "ce_accessunits": ("access_units", {"pattern": _NUMBER}),
    "ce_lostpackets": ("lost_packets", {"pattern": _NUMBER}),
    "ce_damaged": ("damaged", {"pattern": _NUMBER}),
    "ce_codecs": ("codecs", {"pattern": CODECS.pattern}),
    "ce_width": ("width", {"pattern": _NUMBER}),
    "ce_height": ("height", {"pattern": _NUMBER}),
    "ce_cameratime": ("camera_start_us", {"pattern": _INSTANT}),
}
"""Header → the value's attribute that it carries, and its schema."""
_SOMETIMES = frozenset({"ce_starts", "ce_ends", "ce_lostpackets", "ce_damaged", "ce_cameratime"})
_STILL_HEADERS: dict[str, tuple[str, Schema]] = {
    name: _FRAGMENT[name] for name in ("ce_epoch", "ce_seq", "ce_width", "ce_height")
}


def headers_of(kind: str, *, content_type: str, service: str, event_id: str, time: str, subject: str) -> Schema:
    """Schema of the headers common to records of a `ce_type`; `event_id`, `time`, `subject` describe their values."""
    source = f"/districam/{SITE_ID.pattern}/{service}"
    return _object(
        {
            "ce_specversion": _text("The version of CloudEvents.", {"const": "1.0"}),
            "ce_id": _text(f"{event_id} Duplicates of a record have the same id.", {"minLength": 1}),
            "ce_source": _text("`/districam/{site}/{service}`: the sender.", {"pattern": source}),
            "ce_type": _text("Type and version of the record.", {"const": kind}),
            "ce_subject": _text(f"{subject} Equals the key.", {}),
            "ce_time": _text(f"{time} RFC 3339, UTC, six decimals.", {"pattern": _INSTANT}),
            "content-type": _text("Media type of the value.", {"const": content_type}),
        },
        optional=frozenset(),
    )


def fragment_headers(common: Schema) -> Schema:
    """Adds the headers of a fragment."""
    return _extend(common, _FRAGMENT, attribute_docs(FragmentInfo))


def still_headers(common: Schema) -> Schema:
    """Adds the headers of a still."""
    return _extend(common, _STILL_HEADERS, attribute_docs(Still))


def _extend(common: Schema, more: dict[str, tuple[str, Schema]], descriptions: dict[str, str]) -> Schema:
    named = {name: _text(descriptions[attribute], form) for name, (attribute, form) in more.items()}
    return _object({**common["properties"], **named}, optional=_SOMETIMES)


def _object(properties: dict[str, Schema], optional: frozenset[str]) -> Schema:
    return {
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "properties": properties,
    }


def _text(description: str, form: dict[str, Any]) -> Schema:
    whole = {name: f"^{value}$" if name == "pattern" else value for name, value in form.items()}
    return {"description": description, "type": "string", **whole}


CAMERA_KEY: Schema = {"description": "The camera's id.", "type": "string", "pattern": f"^{CAMERA_ID.pattern}$"}
PARTITION_KEY: Schema = {
    "description": "The partition's number of `districam.fragments.v1`.",
    "type": "string",
    "pattern": f"^{_NUMBER}$",
}
INSTANCE_KEY: Schema = {"description": "The process that sends the probe.", "type": "string"}
ANY_KEY: Schema = {"description": "The dead record's key; empty if it had none.", "type": "string"}
