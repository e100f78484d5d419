import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_common.contract import wire
from districam_common.contract.events import SegmentStored
from districam_common.contract.media import Fragment
from districam_common.contract.names import entry_of, parse_segment_object_key
from districam_common.errors import Rejected
from districam_recorder.core.assembler import FirstRecord, Segment
from districam_recorder.core.objects import Conflict, build_object, decode_metadata, encode_metadata, resolve_existing
from support.fragments import T0, S, epoch_id, fragment, make_init, make_media
from support.values import COUNTS, INSTANTS, fragments

E = epoch_id(1)


def made(lost_packets: int = 0):
    two = tuple(fragment("cam-1", E, seq, lost_packets=lost_packets) for seq in (4, 5))
    return build_object(Segment(FirstRecord(0, T0, T0), two, 0, "ends"), "bucket")


def test_the_body_is_the_init_and_every_fragments_media_unchanged():
    body = made().body
    assert body == make_init(E) + make_media(f"cam-1/{E}/4") + make_media(f"cam-1/{E}/5")


def test_what_is_announced_describes_the_body():
    stored, body = made().stored, made().body
    assert (stored.first_seq, stored.last_seq, stored.access_units) == (4, 5, 100)
    assert (stored.start_us, stored.end_us) == (T0 + 8 * S, T0 + 12 * S)
    assert (stored.bytes, stored.init_bytes) == (len(body), len(make_init(E)))
    assert stored.sha256 == hashlib.sha256(body).hexdigest()
    assert stored.starts_with_keyframe
    assert stored.bucket == "bucket"


def test_the_index_entry_is_derived_from_the_key():
    for lost_packets in (0, 3):
        stored = made(lost_packets).stored
        name = parse_segment_object_key(stored.key, stored.bytes)
        assert (name.camera_id, name.entry) == ("cam-1", entry_of(stored))
        assert name.entry.is_lossy == bool(lost_packets)


_NUMBERS = (
    *("first_seq", "last_seq", "bytes", "init_bytes"),
    *("access_units", "lost_packets", "damaged", "width", "height"),
)
STORED = st.builds(
    SegmentStored,
    camera_id=st.just("c"),
    epoch=st.just(E),
    key=st.just("k"),
    bucket=st.just("b"),
    sha256=st.just("0f"),
    codecs=st.just("hvc1.1.6.L93.B0,mp4a.40.2"),
    start_us=INSTANTS,
    end_us=INSTANTS,
    **dict.fromkeys(_NUMBERS, COUNTS),
    camera_start_us=st.none() | st.integers(0, 2**60),
)


@given(STORED)
def test_metadata_has_all_fields_and_decodes_to_the_same_value(stored: SegmentStored):
    metadata = encode_metadata(stored)
    assert metadata["schema"] == "1"
    assert not any("_" in name for name in metadata)
    assert decode_metadata(metadata) == stored
    assert decode_metadata({name.title(): value for name, value in metadata.items()} | {"later": "x"}) == stored


def test_metadata_fits_into_s3():
    assert sum(len(name) + len(value) for name, value in encode_metadata(made().stored).items()) < 1024


@given(st.dictionaries(st.sampled_from(["bytes", "first-seq", "camera-id"]), st.text()))
def test_garbage_is_rejected(metadata: dict[str, str]):
    with pytest.raises(Rejected):
        decode_metadata(metadata)


def test_an_identical_object_is_announced_by_its_own_metadata():
    stored = made().stored
    assert resolve_existing(stored, stored.bytes, encode_metadata(stored)) == stored


@pytest.mark.hostile
def test_with_two_contents_of_one_key_the_stored_one_is_announced_and_the_other_is_a_conflict():
    ours = made().stored
    theirs = replace(ours, sha256="0f" * 32, access_units=99)
    found = resolve_existing(ours, ours.bytes, encode_metadata(theirs))
    assert isinstance(found, Conflict)
    assert found.stored == theirs
    for part in (ours.key, ours.sha256, theirs.sha256, "fragments 4-5"):
        assert part in found.reason
    assert len(found.reason) < 600


@pytest.mark.hostile
@pytest.mark.parametrize("change", [{"bytes": 1}, {"key": "elsewhere"}, {"last_seq": 9}, {"sha256": None}])
def test_an_object_without_valid_metadata_is_a_conflict_and_not_announced(change: dict[str, Any]):
    ours = made().stored
    found = resolve_existing(ours, ours.bytes, encode_metadata(replace(ours, **change)))
    assert isinstance(found, Conflict)
    assert found.stored is None
    assert ours.sha256 in found.reason


@pytest.mark.hostile
def test_an_object_whose_size_contradicts_its_metadata_is_a_conflict_and_not_announced():
    ours = made().stored
    for size, metadata in ((ours.bytes + 1, encode_metadata(ours)), (ours.bytes, {})):
        found = resolve_existing(ours, size, metadata)
        assert isinstance(found, Conflict)
        assert found.stored is None


@given(fragments())
def test_every_decodable_fragment_has_a_valid_key(whatever: Fragment):
    made = wire.fragment_message(whatever, site="local")
    read = wire.decode_fragment(made.key, made.headers, made.value)
    stored = build_object(Segment(FirstRecord(0, T0, T0), (read,), 0, "ends"), "bucket").stored
    assert parse_segment_object_key(stored.key, stored.bytes).camera_id == whatever.info.camera_id
    assert all(value.isascii() for value in encode_metadata(stored).values())
