from districam_indexer.core.operations import (
    AddMember,
    AddScored,
    RaiseScore,
    ReplaceStill,
    SetBits,
    SetField,
    to_batch,
)


def test_operations_of_one_key_become_one_command():
    batch = to_batch(
        [
            AddScored("seg", b"a", 1),
            AddScored("seg", b"b", 2),
            AddScored("seg", b"a", 1),
            SetField("epoch", "e", b"x"),
            SetField("epoch", "f", b"y"),
            SetBits("day", range(3, 5)),
            SetBits("day", range(4, 6)),
            AddMember("ids", "cam-1"),
            AddMember("ids", "cam-1"),
        ]
    )
    assert batch.scored == {"seg": {b"a": 1, b"b": 2}}
    assert batch.fields == {"epoch": {"e": b"x", "f": b"y"}}
    assert batch.bits == {"day": {3, 4, 5}}
    assert batch.members == {"ids": {"cam-1"}}


def test_the_largest_score_and_the_newest_still_are_kept_in_any_order():
    older, newer = (ReplaceStill("still", at, 640, 360, b"\xff\xd8") for at in (10, 20))
    up, down = RaiseScore("latest", "cam-1", 7), RaiseScore("latest", "cam-1", 5)
    for operations in ([older, newer, up, down], [down, up, newer, older]):
        batch = to_batch(operations)
        assert batch.max_scores == {"latest": {"cam-1": 7}}
        assert batch.stills == {"still": newer}
