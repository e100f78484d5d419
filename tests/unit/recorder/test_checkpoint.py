import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_recorder.core.checkpoint import METADATA_MAX_BYTES, Checkpoint, dump, parse
from support.fragments import epoch_id

SEQS = st.dictionaries(st.integers(0, 10_000).map(epoch_id), st.integers(0, 2**31 - 1), max_size=120)


@given(st.integers(0, 2**62), SEQS)
def test_what_is_read_back_skips_nothing_that_was_not_announced(log_us: int, seqs: dict[str, int]):
    text = dump(Checkpoint(log_us, seqs))
    assert len(text.encode()) <= METADATA_MAX_BYTES
    back = parse(text)
    assert back.log_us == log_us
    assert back.seqs.items() <= seqs.items()
    assert len(back.seqs) >= min(len(seqs), 70)


def test_it_is_the_contracts_json():
    text = dump(Checkpoint(17, {epoch_id(1): 4}))
    assert json.loads(text) == {"log_us": 17, "seq": {epoch_id(1): 4}}


def test_the_latest_epochs_are_kept_when_it_is_too_long():
    seqs = {epoch_id(n): n for n in range(200)}
    kept = parse(dump(Checkpoint(1, seqs))).seqs
    assert list(kept) == list(seqs)[-len(kept) :]


@pytest.mark.parametrize(
    ("metadata", "seqs"),
    [
        ("", {}),
        ("[1]", {}),
        ("null", {}),
        ('{"log_us": "x", "seq": [1]}', {}),
        ('{"seq": {"a": "b", "c": 3, "d": true}}', {"c": 3}),
    ],
)
def test_garbage_counts_as_lost(metadata: str, seqs: dict[str, int]):
    assert parse(metadata) == Checkpoint(0, seqs)
