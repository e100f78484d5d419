"""Output with and without a terminal."""

import io
import json

import pytest
from rich.console import Console

from districam_client.screen import PLAIN_EVERY_S, Screen, length


def screen(*, is_terminal: bool, is_json: bool = False) -> tuple[Screen, list[float]]:
    """A screen that writes to memory, and its clock."""
    hand = [0.0]
    consoles = (Console(file=io.StringIO(), force_terminal=is_terminal, width=100) for _ in range(2))
    return Screen(lambda: hand[0], is_json, *consoles), hand


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_progress_is_a_line_every_few_seconds():
    found, hand = screen(is_terminal=False)
    with found.progress("clip.mp4", 600) as advance:
        for second in range(12):
            hand[0] = float(second)
            advance(second * 50.0, second * 1_000_000)
    lines = shown(found.error).splitlines()
    assert lines == ["clip.mp4: 4:10 of 10:00, 5.0 MB", "clip.mp4: 8:20 of 10:00, 10.0 MB"]
    assert PLAIN_EVERY_S == 5


def test_on_a_terminal_progress_is_a_transient_bar():
    found, _ = screen(is_terminal=True)
    with found.progress("clip.mp4", 600) as advance:
        advance(300.0, 1_000_000)
    assert "5:00 of 10:00, 1.0 MB" in shown(found.error)
    assert shown(found.out) == ""


def test_without_a_terminal_a_table_is_lines_with_tabs():
    rows = [("a-1", "Ngã tư", "", "gap: auth_failed"), ("a-2", "[b]", "x" * 200, "recorded")]
    found, _ = screen(is_terminal=False)
    found.table(("id", "name", "place", "state"), rows)
    assert shown(found.out) == "".join("\t".join(row) + "\n" for row in rows)


def test_on_a_terminal_a_table_has_a_header_and_no_markup():
    found, _ = screen(is_terminal=True)
    found.table(("id", "name", "place", "state"), [("a-1", "Ngã tư", "[b]", "gap: auth_failed")])
    assert all(part in shown(found.out) for part in ("name", "Ngã tư", "gap: auth_failed", "[b]"))


@pytest.mark.parametrize("is_json", [True, False])
def test_a_result_is_a_line_of_text_or_json(is_json: bool):  # noqa: FBT001  # a parameter of the test
    found, _ = screen(is_terminal=False, is_json=is_json)
    found.result({"file": "ngã tư.mp4"}, "text")
    line = shown(found.out)
    assert (json.loads(line) == {"file": "ngã tư.mp4"}) if is_json else (line == "text\n")


def test_durations_are_formatted_as_h_mm_ss():
    assert [length(s) for s in (0, 3.4, 63, 3723)] == ["0:00", "0:03", "1:03", "1:02:03"]
