"""Revisions of a camera's record in the index, including those written by another version."""

import json

import pytest

from districam_common.contract import wire
from districam_common.contract.events import Camera
from districam_common.index.revisions import PartialCamera, decode_revision, decode_revisions, is_newest_readable

pytestmark = pytest.mark.correctness
CAMERA = Camera(camera_id="cam-1", name="Cổng", url="rtsp://10.0.0.1/1", retention_days=90, updated_us=5)


def member(**fields: object) -> bytes:
    return json.dumps({**json.loads(wire.encode_json(CAMERA)), **fields}).encode()


def test_an_unknown_value_of_a_newer_version_defaults_only_its_field() -> None:
    """During a rolling update both versions run; the other fields must still be decoded."""
    read = decode_revision(member(transport="http", groups={"a": 1}, enabled=False, unheard_of=1))
    assert isinstance(read, PartialCamera)
    assert set(read.unread) == {"groups", "transport"}
    assert (read.name, read.retention_days, read.is_expected, read.transport) == ("Cổng", 90, False, "tcp")
    assert is_newest_readable(read)


@pytest.mark.parametrize("field", ["enabled", "deleted", "retention_days", "updated_us", "url"])
def test_a_revision_without_a_required_field_is_skipped(field: str) -> None:
    with pytest.raises(wire.WireError, match=field):
        decode_revision(member(**{field: "?" if field != "url" else 1}))


def test_the_last_readable_revision_is_marked_if_a_newer_one_is_unreadable() -> None:
    newer = member(enabled="?", revision=2, updated_us=6)
    (last,) = decode_revisions([wire.encode_json(CAMERA), newer], "cam-1")
    assert isinstance(last, PartialCamera)
    assert (last.unread, last.name, is_newest_readable(last)) == (("*",), "Cổng", False)
    assert decode_revisions([newer, wire.encode_json(CAMERA)], "cam-1") == [CAMERA]
    assert is_newest_readable(CAMERA)


@pytest.mark.parametrize("junk", [b"", b"[]", b"3", b"{}", b"\xff", b"[" * 5000, b'{"camera_id": 1}'])
def test_a_malformed_revision_hides_no_other(junk: bytes) -> None:
    assert decode_revisions([junk, wire.encode_json(CAMERA)], "cam-1") == [CAMERA]
    assert decode_revisions([junk], "cam-1") == []
