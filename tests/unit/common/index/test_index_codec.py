"""Decoding of Redis replies: malformed values are skipped alone."""

import json
from dataclasses import dataclass

import pytest
from prometheus_client import REGISTRY

from districam_common.contract import names
from districam_common.contract.segment_array import MEMBER_DTYPE
from districam_common.index import index_codec as replies

pytestmark = pytest.mark.correctness
META = {b"site": b"local", b"schema": b"1", b"partitions": b"60", b"state": b"ready", b"build": b"b"}
GOOD = bytes(MEMBER_DTYPE.itemsize)


@dataclass(frozen=True)
class Value:
    n: int


def counted(what: str) -> float:
    return REGISTRY.get_sample_value("districam_unreadable_total", {"what": what}) or 0


def test_a_malformed_segment_member_hides_no_other() -> None:
    before = counted("segment")
    rows = [GOOD, b"1000", b"short", b"2000", GOOD[:-1] + b"\x01", b"inf", GOOD[:-1] + b"\x02", b"3e3"]
    assert replies.decode_segments_in_window([rows], 0, 10_000)["start_us"].tolist() == [1000, 3000]
    assert counted("segment") == before + 2


@pytest.mark.parametrize(
    "damage", [{b"partitions": b"many"}, {b"partitions": b"0"}, {b"partitions": b"-3"}, {b"partitions": b""}]
)
def test_malformed_metadata_is_none(damage: dict[bytes, bytes]) -> None:
    assert replies.parse_meta({**META, **damage}) is None


@pytest.mark.parametrize("progress", [b"", b"{", b"3", b"[" * 5000, b"\xff"])
def test_malformed_progress_is_empty(progress: bytes) -> None:
    meta = replies.parse_meta({**META, b"progress": progress})
    assert meta is not None
    assert (meta.progress, meta.is_ready) == ({}, True)


def test_malformed_numbers_and_names_are_skipped() -> None:
    assert replies.parse_numbers({b"3": b"5", b"x": b"5", b"4": b"?"}, names.WATERMARKS) == {3: 5}
    assert (replies.parse_watermark_us(None), replies.parse_watermark_us(b"?"), replies.parse_watermark_us(b"7")) == (
        0,
        0,
        7,
    )
    assert replies.parse_camera_ids([b"cam-1", b"\xff", b"No Camera"]) == {"cam-1"}
    rows = [(b"cam-1", 5.0), (b"cam-2", float("inf")), (b"\xff", 5.0)]
    assert replies.parse_latest_ends(rows) == {"cam-1": 5}


def test_malformed_intervals_and_values_are_skipped() -> None:
    assert replies.parse_expired([b"0-10", b"x", b"5-20", b"7"], "cam-1") == [(0, 20)]
    found = {b"a": json.dumps({"n": 1}).encode(), b"b": b"{", b"\xff": b'{"n": "?"}'}
    assert replies.decode_values(Value, found, names.HOLD_STATES) == {"a": Value(1)}
