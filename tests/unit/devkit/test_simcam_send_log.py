from pathlib import Path

import pytest

from districam_devkit.simcam.send_log import Recipient, SentPicture, open_send_log, read_send_log


def test_lines_are_read_back_with_the_first_keyframe(tmp_path: Path):
    path = tmp_path / "logs" / "sent.log"
    with open_send_log(path) as log:
        log.write("cam-001", 7, 1_000, is_keyframe=False, sent_to=[Recipient(1, before_first_keyframe=True)])
        log.write(
            "cam-001",
            8,
            2_000,
            is_keyframe=False,
            sent_to=[Recipient(1, before_first_keyframe=True), Recipient(2, before_first_keyframe=False)],
        )
        log.write("cam-002", 9, 3_000, is_keyframe=True, sent_to=[Recipient(3, before_first_keyframe=False)])
        expected = [
            SentPicture("cam-001", 7, 1_000, is_keyframe=False, connections=(1,), before_first_keyframe=True),
            SentPicture("cam-001", 8, 2_000, is_keyframe=False, connections=(1, 2), before_first_keyframe=False),
            SentPicture("cam-002", 9, 3_000, is_keyframe=True, connections=(3,), before_first_keyframe=False),
        ]
        assert read_send_log(path) == expected, "each line is there once written"
    assert read_send_log(path) == expected


def test_an_incomplete_last_line_is_ignored_and_an_invalid_line_raises(tmp_path: Path):
    path = tmp_path / "sent.log"
    path.write_text("cam-001 1 2 K 1\ncam-001 2 3 - 1")
    assert [sent.number for sent in read_send_log(path)] == [1]
    path.write_text("nonsense\n")
    with pytest.raises(ValueError):
        read_send_log(path)
