"""A segment as an object: its bytes, its key, its metadata. All are functions of the content."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from districam_common.contract.events import SegmentStored
from districam_common.contract.media import Fragment
from districam_common.contract.names import entry_of, segment_object_key
from districam_common.contract.wire import type_adapter
from districam_common.errors import Rejected
from districam_recorder.core.assembler import Segment

CONTENT_TYPE = "video/mp4"
SCHEMA_VERSION = "1"


@dataclass(frozen=True, slots=True)
class SegmentObject:
    """What is put: the whole body, and what is said of it."""

    stored: SegmentStored
    body: bytes


@dataclass(frozen=True, slots=True)
class Conflict:
    """The segment's key is taken by other bytes, which stay: an object is written once.

    Attributes:
        stored: what the object in the store says of itself, to be announced again; None if no recorder has written it.
        reason: for the dead letter: key, sizes and digests of both, which fragments are not stored.
    """

    stored: SegmentStored | None
    reason: str


def build_object(segment: Segment, bucket: str) -> SegmentObject:
    """The segment's object: its init, then `moof` and `mdat` of each fragment, unchanged."""
    fragments = segment.fragments
    body = b"".join([fragments[0].init, *(fragment.media for fragment in fragments)])
    draft = _describe(fragments, bucket, body)
    return SegmentObject(replace(draft, key=segment_object_key(draft.camera_id, entry_of(draft))), body)


def _describe(fragments: tuple[Fragment, ...], bucket: str, body: bytes) -> SegmentStored:
    first, last = fragments[0].info, fragments[-1].info
    return SegmentStored(
        camera_id=first.camera_id,
        epoch=first.epoch,
        first_seq=first.seq,
        last_seq=last.seq,
        start_us=first.start_us,
        end_us=last.end_us,
        bytes=len(body),
        init_bytes=first.init_length,
        access_units=sum(fragment.info.access_units for fragment in fragments),
        lost_packets=sum(fragment.info.lost_packets for fragment in fragments),
        damaged=sum(fragment.info.damaged for fragment in fragments),
        codecs=first.codecs,
        width=first.width,
        height=first.height,
        starts_with_keyframe=first.is_keyframe,
        bucket=bucket,
        key="",
        sha256=hashlib.sha256(body).hexdigest(),
        camera_start_us=first.camera_start_us,
    )


def encode_metadata(stored: SegmentStored) -> dict[str, str]:
    """User metadata: the fields of SegmentStored, dashes for underscores; an absent value has no entry."""
    fields = {name.replace("_", "-"): value for name, value in asdict(stored).items() if value is not None}
    texts = {
        name: str(value).lower() if value in (True, False) and isinstance(value, bool) else str(value)
        for name, value in fields.items()
    }
    return {**texts, "schema": SCHEMA_VERSION}


def decode_metadata(metadata: Mapping[str, str]) -> SegmentStored:
    """The inverse of `metadata_of`; what it does not know is left unread.

    Raises:
        Rejected: not a segment's metadata.
    """
    fields = {name.lower().replace("-", "_"): value for name, value in metadata.items()}
    try:
        return type_adapter(SegmentStored).validate_strings(fields)
    except ValueError as error:
        raise Rejected(f"not a segment's metadata: {error}") from error


def resolve_existing(ours: SegmentStored, size: int, metadata: Mapping[str, str]) -> SegmentStored | Conflict:
    """What to announce when the key was taken: what the object says of itself.

    Args:
        ours: the segment that was to be stored under the key.
        size: of the object that is there, bytes.
        metadata: user metadata of that object.
    """
    theirs = _decode_existing(ours, size, metadata)
    if theirs is not None and (size, theirs.sha256) == (ours.bytes, ours.sha256):
        return theirs
    digest = "no recorder's" if theirs is None else f"sha256 {theirs.sha256}"
    return Conflict(
        theirs,
        f"{ours.key} holds other bytes: {size} ({digest}); not stored: {ours.bytes} (sha256 {ours.sha256}), "
        f"fragments {ours.first_seq}-{ours.last_seq} of the epoch",
    )


def _decode_existing(ours: SegmentStored, size: int, metadata: Mapping[str, str]) -> SegmentStored | None:
    """What a recorder wrote under our key; None if what is there does not say of itself what it is."""
    try:
        theirs = decode_metadata(metadata)
        derived_key = segment_object_key(theirs.camera_id, entry_of(theirs))
    except (ValueError, Rejected):
        return None
    return theirs if (theirs.key, derived_key, theirs.bytes) == (ours.key, ours.key, size) else None
