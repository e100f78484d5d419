"""A file is complete or absent."""

from pathlib import Path

import pytest

from districam_client.errors import CommandError
from districam_client.files import numbered, open_atomic, target


def test_a_completed_file_replaces_the_old_one(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    with open_atomic(path) as out:
        out.write(b"whole")
        assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4.part"]
    assert path.read_bytes() == b"whole"
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_aborted_file_is_removed_and_the_old_one_stays(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")

    def half():
        with open_atomic(path) as out:
            out.write(b"half")
            raise error

    with pytest.raises(error):
        half()
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("clip.mp4", b"old")]


def test_an_unwritable_path_is_reported(tmp_path: Path):
    (tmp_path / "clip.mp4.part").mkdir()
    with pytest.raises(CommandError, match="cannot be written"), open_atomic(tmp_path / "clip.mp4"):
        pass


def test_the_default_file_name_is_the_apis(tmp_path: Path):
    given = 'inline; filename="cam_2026.mp4"'
    assert target(None, given, "x.mp4", force=False) == Path("cam_2026.mp4")
    assert target(tmp_path, given, "x.mp4", force=False) == tmp_path / "cam_2026.mp4"
    assert target(tmp_path / "mine.mp4", given, "x.mp4", force=False) == tmp_path / "mine.mp4"


@pytest.mark.parametrize("given", ["", 'inline; filename="../../etc/x"', 'inline; filename=".bashrc"', 'filename="/x"'])
def test_a_file_name_with_a_path_is_not_used(given: str):
    assert target(None, given, "x.mp4", force=False) == Path("x.mp4")


def test_an_existing_file_is_kept_without_force(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    path.touch()
    with pytest.raises(CommandError, match="--force"):
        target(path, "", "", force=False)
    assert target(path, "", "", force=True) == path
    with pytest.raises(CommandError, match="no folder"):
        target(tmp_path / "none" / "clip.mp4", "", "", force=True)


def test_parts_are_numbered(tmp_path: Path):
    assert numbered(Path("a/clip.mp4"), 2) == Path("a/clip-2.mp4")
    assert numbered(None, 2) is None
    assert numbered(tmp_path, 2) == tmp_path
