"""Logs: one JSON object per line, including the libraries' lines, without secrets."""

import json
import logging

import pytest
import structlog
from aiokafka import errors as kafka

from districam_common.runtime.logs import configure, redact_urls
from districam_common.runtime.settings import LogSettings

pytestmark = pytest.mark.usefixtures("logs_as_before")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    out, error = capsys.readouterr()
    assert out == ""
    return [json.loads(line) for line in error.splitlines()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://admin:s3cret@10.0.0.1:554/a", "rtsp://10.0.0.1:554/a"),
        ("cannot open rtsp://admin@cam/a?b=c@d: reset", "cannot open rtsp://cam/a?b=c@d: reset"),
        ("rtsps://a:p@ss@host/x and redis://:pw@r/0", "rtsps://host/x and redis://r/0"),
        ("no url, me@example.org", "no url, me@example.org"),
    ],
)
def test_user_and_password_are_removed_from_every_url(text: str, expected: str) -> None:
    assert redact_urls(text) == expected


@pytest.mark.hostile
def test_only_control_and_line_separating_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    text = "Liên Nghĩa\u2028a\u2029b\x9bc\u202ed\ufefff\x1b[2J\U000e0001"
    configure(LogSettings(format="json"), service="api", instance="i")
    structlog.get_logger().info("asked", path=text)
    _, error = capsys.readouterr()
    assert error.count("\n") == 1 == len(error.splitlines())
    assert error.rstrip("\n").isprintable()
    assert "Liên Nghĩa" in error
    assert json.loads(error)["path"] == text
    configure(LogSettings(format="console"), service="api", instance="i")
    structlog.get_logger().info("asked", path=text)
    assert capsys.readouterr().err.rstrip("\n").isprintable()


def test_a_log_line_is_json_with_service_instance_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(format="json"), service="ingest", instance="host-1a2b3c")
    structlog.get_logger().info("segment stored", key="cam-001/a", bytes=3)
    (line,) = lines(capsys)
    assert line["event"] == "segment stored"
    assert (line["service"], line["instance"], line["level"]) == ("ingest", "host-1a2b3c", "info")
    assert (line["key"], line["bytes"]) == ("cam-001/a", 3)
    assert line["at"].endswith("Z")


def test_the_level_applies_to_our_lines_and_the_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(format="json", level="warning"), service="api", instance="i")
    structlog.get_logger().info("no")
    logging.getLogger("some.library").info("no")
    logging.getLogger("some.library").warning("yes %s", 1)
    logging.getLogger("aiokafka.conn").warning("no: said at each attempt")
    assert [line["event"] for line in lines(capsys)] == ["yes 1"]


def test_aiokafkas_coordinator_error_of_a_new_broker_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """The library logs it at ERROR and retries; its other errors are still logged."""
    configure(LogSettings(format="json"), service="recorder", instance="i")
    library = logging.getLogger("aiokafka.consumer.group_coordinator")
    library.error("Group Coordinator Request failed: %s", kafka.GroupCoordinatorNotAvailableError())
    library.error("Group Coordinator Request failed: %s", kafka.GroupAuthorizationFailedError())
    assert [line["event"].partition(": ")[2][:10] for line in lines(capsys)] == ["[Error 30]"]


def test_no_log_line_contains_a_password(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(format="json"), service="api", instance="i")
    log = structlog.get_logger()
    url = "rtsp://admin:s3cret@cam/a"
    log.info("opening", url=url, why=[url], detail={"url": url})
    logging.getLogger("some.library").warning("failed: %s", url)
    try:
        float(url)
    except ValueError as error:
        log.exception("failed", why=error)
    found = lines(capsys)
    assert len(found) == 3
    assert "s3cret" not in json.dumps(found)


def test_the_console_format_is_readable_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(format="console"), service="api", instance="i")
    structlog.get_logger().info("ready", port=1)
    assert "ready" in capsys.readouterr().err
