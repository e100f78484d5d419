"""The database of announced digests."""

from pathlib import Path

import pytest

from districam_indexer.announced_digests import AnnouncedDigests

pytestmark = pytest.mark.correctness


def test_the_first_announcement_of_a_key_counts() -> None:
    with AnnouncedDigests.open() as announced:
        announced.add([("a", "1" * 64), ("b", "2" * 64)])
        announced.add([("a", "3" * 64)])
        assert [announced.sha256(key) for key in "abc"] == ["1" * 64, "2" * 64, None]
        assert len(announced) == 2


def test_the_database_is_removed_from_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with AnnouncedDigests.open() as announced:
        announced.add([("a", "1")])
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
