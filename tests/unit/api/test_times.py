from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_api.core.invalid_parameter import InvalidParameter
from districam_api.core.times import (
    MAX_PLAYLIST_US,
    MAX_TIMELINE_US,
    Window,
    format_local,
    parse_instant,
    parse_window,
    parse_zone,
    seconds,
)
from districam_common.contract.names import datetime_to_us, parse_rfc3339

SAIGON = ZoneInfo("Asia/Ho_Chi_Minh")
NOON_US = parse_rfc3339("2026-11-24T12:00:00Z")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T12:00:00Z",
        "2026-11-24t12:00:00z",
        "2026-11-24 12:00:00.000000Z",
        "2026-11-24T12:00Z",
        "2026-11-24T19:00:00+07:00",
        "2026-11-24T19:00:00 07:00",  # an unescaped +
        "2026-11-24T04:00:00-08:00",
        " 2026-11-24T12:00:00.000000000Z ",
    ],
)
def test_an_instant_with_a_zone_needs_no_other(text: str):
    assert parse_instant(text, "from", None) == NOON_US
    assert parse_instant(text, "from", ZoneInfo("America/New_York")) == NOON_US


def test_a_local_time_is_read_in_the_given_zone():
    assert parse_instant("2026-11-24T19:00:00", "from", SAIGON) == NOON_US
    assert parse_instant("2026-11-24T19:00", "from", SAIGON) == NOON_US


def test_a_local_time_without_a_zone_is_refused_with_advice():
    with pytest.raises(InvalidParameter) as refused:
        parse_instant("2026-11-24T19:00:00", "from", None)
    (error,) = refused.value.errors
    assert error.field == "from"
    assert "tz=Asia/Ho_Chi_Minh" in error.message


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-11-24", "20261124T120000Z", "2026-W48-2T12:00Z", "1764000000", "2026-11-24T12:00:00+7"),
        *("2026-02-30T12:00:00Z", "2026-11-24T24:00:00Z", "2026-11-24T12:00:60Z", "2026-11-24T12:00:00+99:00"),
        *("٢٠٢٦-11-24T12:00:00Z", "1999-12-31T23:59:59Z", "2100-01-01T00:00:00Z", "0001-01-01T00:00:00+07:00"),
    ],
)
def test_text_that_is_not_an_instant_is_refused_naming_the_field(text: str):
    with pytest.raises(InvalidParameter) as refused:
        parse_instant(text, "to", SAIGON)
    assert refused.value.errors[0].field == "to"


@pytest.mark.parametrize("text", ["2026-10-25T02:30:00", "2026-03-29T02:30:00"])  # ambiguous; missing
def test_a_local_time_at_a_clock_change_is_refused(text: str):
    with pytest.raises(InvalidParameter, match="give an offset"):
        parse_instant(text, "from", ZoneInfo("Europe/Paris"))


@given(
    st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30)),  # noqa: DTZ001  # the zone comes next
    st.integers(-14 * 60, 14 * 60),
)
def test_every_instant_round_trips(naive: datetime, offset_min: int):
    at = naive.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    assert parse_instant(at.isoformat(), "from", None) == datetime_to_us(at)
    assert parse_instant(format_local(datetime_to_us(at), SAIGON), "from", None) == datetime_to_us(at)


@pytest.mark.parametrize("name", ["Asia/Saigon_City", "", "../etc/passwd", "/etc/passwd", "a\0b", "Asia"])
def test_an_unknown_zone_is_refused(name: str):
    with pytest.raises(InvalidParameter) as refused:
        parse_zone(name)
    assert refused.value.errors[0].field == "tz"


def test_a_known_zone_is_found():
    assert parse_zone("Asia/Ho_Chi_Minh").key == "Asia/Ho_Chi_Minh"


def test_a_window_is_half_open_and_may_be_as_long_as_the_limit():
    asked = parse_window("2026-11-24T12:00:00Z", "2026-11-25T12:00:00Z", None, MAX_PLAYLIST_US)
    assert asked == Window(NOON_US, NOON_US + MAX_PLAYLIST_US)
    assert asked.length_us == MAX_PLAYLIST_US


@pytest.mark.parametrize("to", ["2026-11-24T12:00:00Z", "2026-11-24T11:59:59Z"])
def test_a_window_without_length_is_refused(to: str):
    with pytest.raises(InvalidParameter, match="to: must be later than from"):
        parse_window("2026-11-24T12:00:00Z", to, None, MAX_PLAYLIST_US)


@pytest.mark.parametrize(("most_us", "limit"), [(MAX_PLAYLIST_US, "24 hours"), (MAX_TIMELINE_US, "31 days")])
def test_a_window_over_the_limit_is_refused_with_the_limit(most_us: int, limit: str):
    with pytest.raises(InvalidParameter, match=limit):
        parse_window("2026-01-01T00:00:00Z", "2026-02-01T00:00:00.000001Z", None, most_us)


def test_durations_are_exact():
    assert seconds(1) == 0.000001
    assert seconds(31 * 86_400_000_000 + 1) == 2_678_400.000001
