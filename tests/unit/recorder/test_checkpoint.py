import base64
import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_common.kafka.marks import Mark
from districam_recorder.core.checkpoint import MAX_METADATA_BYTES, Checkpoint, decode_checkpoint, encode_checkpoint
from support.fragments import epoch_id

SEQS = st.dictionaries(st.integers(0, 10_000).map(epoch_id), st.integers(0, 2**31 - 1), max_size=120)


MARKS = st.builds(Mark, st.integers(0, 2**62), st.integers(0, 2**62), st.integers(0, 9).map(epoch_id))


@given(st.integers(0, 2**62), SEQS, st.none() | st.integers(0, 2**62), st.lists(MARKS, max_size=6).map(tuple))
def test_a_decoded_checkpoint_skips_only_announced_fragments(
    log_us: int, seqs: dict[str, int], since_us: int | None, read: tuple[Mark, ...]
):
    text = encode_checkpoint(Checkpoint(log_us, seqs, since_us, read))
    assert len(text.encode()) <= MAX_METADATA_BYTES
    back = decode_checkpoint(text)
    assert (back.log_us, back.since_us, back.read) == (log_us, since_us, read)
    assert back.seqs.items() <= seqs.items()
    assert len(back.seqs) >= min(len(seqs), 110)


def test_the_epochs_of_a_partition_of_ten_thousand_cameras_fit():
    seqs = {epoch_id(n): n for n in range(120)}
    read = tuple(Mark(10**9 - n, 1_790_000_000_000_000, f"{epoch_id(n)}/{n}") for n in range(6))
    text = encode_checkpoint(Checkpoint(1_790_000_000_000_000, seqs, 1_790_000_000_000_000, read))
    assert decode_checkpoint(text).seqs == seqs


def test_a_checkpoint_without_marks_is_decoded():
    text = json.dumps({"log_us": 7, "seq": {epoch_id(1): 3}})
    assert decode_checkpoint(text) == Checkpoint(7, {epoch_id(1): 3}, None, ())


def test_the_checkpoint_is_the_contracts_json():
    text = encode_checkpoint(Checkpoint(17, {epoch_id(1): 4}))
    assert json.loads(text) == {"log_us": 17, "seq": {epoch_id(1): 4}}
    text = encode_checkpoint(Checkpoint(17, {}, 18, (Mark(7, 16, "a/3"), Mark(5, 9, ""))))
    read = [[7, 16, "a/3"], [5, 9, ""]]
    assert json.loads(text) == {"log_us": 17, "seq": {}, "since_us": 18, "read": read}


def test_many_epochs_are_packed():
    seqs = {epoch_id(n): n for n in range(100)}
    found = json.loads(encode_checkpoint(Checkpoint(1, seqs)))
    assert "seq" not in found
    packed = base64.b64decode(found["seqs"])
    assert len(packed) == 100 * 20
    assert packed[20:40] == UUID(epoch_id(1)).bytes + (1).to_bytes(4, "big")


def test_the_latest_epochs_are_kept_if_the_checkpoint_is_too_long():
    seqs = {epoch_id(n): n for n in range(200)}
    kept = decode_checkpoint(encode_checkpoint(Checkpoint(1, seqs))).seqs
    assert list(kept) == list(seqs)[-len(kept) :]


@pytest.mark.parametrize(
    ("metadata", "seqs"),
    [
        ("", {}),
        ("[1]", {}),
        ("null", {}),
        ('{"log_us": "x", "seq": [1]}', {}),
        (f'{{"seq": {{"a": "b", "{epoch_id(1)}": 3, "{epoch_id(2)}": true}}}}', {epoch_id(1): 3}),
        (f'{{"seq": {{"c": 3, "{epoch_id(1)}": -1, "{epoch_id(2)}": {1 << 32}}}}}', {}),
        ('{"seqs": 3, "since_us": "x", "read": 5}', {}),
        ('{"seqs": "?", "read": [[1], ["a", 2, "b"], [-1, 2, "c"], [1, 2, 3], 4]}', {}),
    ],
)
def test_an_invalid_checkpoint_decodes_to_the_defaults(metadata: str, seqs: dict[str, int]):
    assert decode_checkpoint(metadata) == Checkpoint(0, seqs)
