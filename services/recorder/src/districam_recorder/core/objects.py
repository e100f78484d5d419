"""A segment as an S3 object: body, key and metadata, all functions of the segment's content."""

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
    """The body of an object, and its description for metadata and announcement."""

    stored: SegmentStored
    body: bytes


@dataclass(frozen=True, slots=True)
class Conflict:
    """The segment's key holds other bytes, which are kept: objects are never overwritten.

    Attributes:
        stored: the existing object by its metadata, to be announced again; None if no recorder wrote it.
        reason: for the dead letter: key, sizes and digests of both, fragments that are not stored.
    """

    stored: SegmentStored | None
    reason: str


def build_object(segment: Segment, bucket: str) -> SegmentObject:
    """Builds the object: the init (`ftyp`, `moov`), then each fragment's `moof` and `mdat`, unchanged."""
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
    """S3 user metadata: the fields of SegmentStored with dashes for underscores; None values are omitted."""
    fields = {name.replace("_", "-"): value for name, value in asdict(stored).items() if value is not None}
    texts = {
        name: str(value).lower() if value in (True, False) and isinstance(value, bool) else str(value)
        for name, value in fields.items()
    }
    return {**texts, "schema": SCHEMA_VERSION}


def decode_metadata(metadata: Mapping[str, str]) -> SegmentStored:
    """The inverse of `encode_metadata`; ignores unknown entries.

    Raises:
        Rejected: not a segment's metadata.
    """
    fields = {name.lower().replace("-", "_"): value for name, value in metadata.items()}
    try:
        return type_adapter(SegmentStored).validate_strings(fields)
    except ValueError as error:
        raise Rejected(f"not a segment's metadata: {error}") from error


def resolve_existing(ours: SegmentStored, size: int, metadata: Mapping[str, str]) -> SegmentStored | Conflict:
    """The existing object if it has the segment's size and digest, else a Conflict.

    Args:
        ours: the segment that was to be stored under the key.
        size: of the existing object, in bytes.
        metadata: user metadata of the existing object.
    """
    theirs = _decode_existing(ours, size, metadata)
    if theirs is not None and (size, theirs.sha256) == (ours.bytes, ours.sha256):
        return theirs
    digest = "not written by a recorder" if theirs is None else f"sha256 {theirs.sha256}"
    return Conflict(
        theirs,
        f"{ours.key} holds another object of {size} bytes ({digest}); not stored: {ours.bytes} bytes (sha256 {ours.sha256}), "
        f"fragments {ours.first_seq}-{ours.last_seq} of the epoch",
    )


def _decode_existing(ours: SegmentStored, size: int, metadata: Mapping[str, str]) -> SegmentStored | None:
    """The existing object by its metadata; None if that is no segment's, or contradicts the key or size."""
    try:
        theirs = decode_metadata(metadata)
        derived_key = segment_object_key(theirs.camera_id, entry_of(theirs))
    except (ValueError, Rejected):
        return None
    return theirs if (theirs.key, derived_key, theirs.bytes) == (ours.key, ours.key, size) else None
