"""Times in words: each form has its expected instant; ambiguous ones are refused."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_client.times import (
    EXAMPLES,
    InvalidTime,
    format_iso,
    normalize_text,
    parse_instant,
    parse_us,
    parse_window,
)

SAIGON = ZoneInfo("Asia/Ho_Chi_Minh")
NOW = "2026-11-25T10:00:00+07:00"  # a Wednesday
NOW_US = parse_us(NOW)
DAY_US = 86_400_000_000
zones = st.sampled_from(["Asia/Ho_Chi_Minh", "UTC", "Asia/Tokyo"]).map(ZoneInfo)
nows_us = st.datetimes(datetime(2001, 1, 9), datetime(2099, 12, 1)).map(  # noqa: DTZ001  # UTC is given below
    lambda at: parse_us(at.replace(tzinfo=UTC).isoformat())
)


def resolve(text: str, now: str = NOW) -> str:
    return format_iso(parse_instant(text, "--at", now_us=parse_us(now), zone=SAIGON), SAIGON)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-24T21:40:00+07:00", "2026-11-24T21:40"),
        ("2026-11-24T14:40:00Z", "2026-11-24T21:40"),
        ("2026-11-24 21:40", "2026-11-24T21:40"),
        ("2026-11-24T21:40:05", "2026-11-24T21:40:05"),
        ("2026-11-24", "2026-11-24T00:00"),
        ("24/11/2026 21:40", "2026-11-24T21:40"),
        ("24-11-2026 21:40", "2026-11-24T21:40"),
        ("21h40 ngày 24/11/2026", "2026-11-24T21:40"),
        ("4/3 8:00", "2026-03-04T08:00"),
        ("30/11 8:00", "2025-11-30T08:00"),
        ("hôm qua 21:40", "2026-11-24T21:40"),
        ("hom nay 8h30", "2026-11-25T08:30"),
        ("HÔM NAY 8 giờ 30 phút", "2026-11-25T08:30"),
        ("hôm kia 6h", "2026-11-23T06:00"),
        ("hôm qua", "2026-11-24T00:00"),
        ("21:40 hôm qua", "2026-11-24T21:40"),
        ("9 giờ tối hôm qua", "2026-11-24T21:00"),
        ("chiều qua 3h15", "2026-11-24T15:15"),
        ("sáng nay 8h", "2026-11-25T08:00"),
        ("yesterday 21:40", "2026-11-24T21:40"),
        ("yesterday, at 9:40 pm", "2026-11-24T21:40"),
        ("9pm yesterday", "2026-11-24T21:00"),
        ("12 am today", "2026-11-25T00:00"),
        ("today 08:00", "2026-11-25T08:00"),
        ("2 ngày trước 21:40", "2026-11-23T21:40"),
        ("thứ hai 7:15", "2026-11-23T07:15"),
        ("thu 2 luc 7:15", "2026-11-23T07:15"),
        ("t2 7h15", "2026-11-23T07:15"),
        ("last Monday 7:15", "2026-11-23T07:15"),
        ("thứ 7 15:00", "2026-11-21T15:00"),
        ("chủ nhật 8h", "2026-11-22T08:00"),
        ("thứ tư 9:00", "2026-11-25T09:00"),
        ("wednesday 11:00", "2026-11-18T11:00"),
        ("9:30", "2026-11-25T09:30"),
        ("21:40", "2026-11-24T21:40"),
        ("2 giờ trước", "2026-11-25T08:00"),
        ("cách đây 2 tiếng", "2026-11-25T08:00"),
        ("10 minutes ago", "2026-11-25T09:50"),
        ("1 hour 30 minutes ago", "2026-11-25T08:30"),
        ("2 ngày trước", "2026-11-23T10:00"),
        ("-15m", "2026-11-25T09:45"),
        ("-1h30m", "2026-11-25T08:30"),
        ("bây giờ", "2026-11-25T10:00"),
    ],
)
def test_each_form_is_resolved_to_the_expected_instant(text: str, expected: str):
    assert resolve(text) == f"{expected}{':00' if len(expected) == 16 else ''}+07:00"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "neither a day nor a time"),
        ("hôm qua thứ hai", "'thu hai' is not understood"),
        ("thu 7:15", "'thu' is not understood"),  # Thursday, or part of a Vietnamese weekday
        ("tuần trước 7:15", "'tuan truoc' is not understood"),
        ("3 tháng trước", "'3 thang truoc' is not understood"),
        ("21:40 21:50", "'21:50' is not understood"),
        ("31/02/2026", "no such day"),
        ("29/02 8:00", "no such day"),
        ("hôm nay 25:00", "hour"),
        ("8:61", "minute"),
        ("21:40 sáng", "is ambiguous"),
        ("12h tối", "is ambiguous"),
        ("2026-13-01T00:00:00Z", "month"),
        ("1/1/1999 8:00", "2000 to 2099"),
        ("-999999w", "range"),
        ("gạch", "'gach' is not understood"),
    ],
)
def test_an_ambiguous_time_is_refused_with_examples(text: str, named: str):
    with pytest.raises(InvalidTime) as refused:
        resolve(text)
    message = str(refused.value)
    assert message.startswith("--at: ")
    assert named in message
    assert all(example in message for example in EXAMPLES)


def test_every_example_is_understood():
    for example in EXAMPLES:
        assert resolve(example)


def test_a_local_time_at_a_clock_change_is_refused():
    berlin = ZoneInfo("Europe/Berlin")
    for text in ("2026-10-25 02:30", "29/03/2026 2:30"):
        with pytest.raises(InvalidTime, match="ambiguous or missing in Europe/Berlin"):
            parse_instant(text, "--at", now_us=NOW_US, zone=berlin)
    assert parse_instant("2026-10-25 02:30:00+01:00", "--at", now_us=NOW_US, zone=berlin) == parse_us(
        "2026-10-25T01:30Z"
    )


@pytest.mark.parametrize(
    ("from_text", "to_text", "expected"),
    [
        ("hôm qua 21:40", "+10m", ("2026-11-24T21:40", "2026-11-24T21:50")),
        ("hôm qua 21:40", "21:50", ("2026-11-24T21:40", "2026-11-24T21:50")),
        ("hôm qua 23:50", "0h10", ("2026-11-24T23:50", "2026-11-25T00:10")),
        ("hôm qua 21:40", "hôm nay 0:10", ("2026-11-24T21:40", "2026-11-25T00:10")),
        ("-15m", "now", ("2026-11-25T09:45", "2026-11-25T10:00")),
        ("-15m", "5 phút trước", ("2026-11-25T09:45", "2026-11-25T09:55")),
    ],
)
def test_a_window(from_text: str, to_text: str, expected: tuple[str, str]):
    found = parse_window(from_text, to_text, now_us=NOW_US, zone=SAIGON)
    assert tuple(format_iso(at_us, SAIGON) for at_us in found) == tuple(f"{one}:00+07:00" for one in expected)


@pytest.mark.parametrize(
    ("to_text", "named"), [("+x", "is not a duration"), ("-2d", "not later"), ("hom kia", "not later")]
)
def test_an_invalid_end_names_the_option(to_text: str, named: str):
    with pytest.raises(InvalidTime, match=f"^--to: .*{named}"):
        parse_window("hôm qua 21:40", to_text, now_us=NOW_US, zone=SAIGON)


@given(nows_us, zones)
def test_iso_times_round_trip(at_us: int, zone: ZoneInfo):
    assert parse_instant(format_iso(at_us, zone), "--at", now_us=NOW_US, zone=SAIGON) == at_us


@given(
    nows_us,
    zones,
    st.integers(-1000, 1000),
    st.sampled_from(["%d/%m/%Y %H:%M", "%Hh%M ngày %d/%m/%Y", "%Y-%m-%d %H:%M"]),
)
def test_written_days_round_trip_at_any_time_of_reading(at_us: int, zone: ZoneInfo, days: int, form: str):
    at = datetime.fromtimestamp(at_us // 60_000_000 * 60, zone)
    now_us = max(0, at_us + days * DAY_US)
    assert parse_instant(at.strftime(form), "--at", now_us=now_us, zone=zone) == parse_us(at.isoformat())


@given(nows_us, zones, st.sampled_from(["thứ hai", "thứ 5", "t7", "chủ nhật", "friday", "sat"]), st.times())
def test_a_weekday_is_its_most_recent_occurrence(now_us: int, zone: ZoneInfo, day: str, clock: object):
    at_us = parse_instant(f"{day} {clock:%H:%M}", "--at", now_us=now_us, zone=zone)
    assert now_us - 7 * DAY_US < at_us <= now_us


@given(
    nows_us,
    st.integers(1, 999),
    st.sampled_from([("m", 60), ("phút", 60), (" hours", 3600), ("giờ", 3600), ("d", 86_400)]),
)
def test_a_duration_before_now_is_exact(now_us: int, number: int, unit: tuple[str, int]):
    word, seconds = unit
    expected = now_us - number * seconds * 1_000_000
    for text in (f"-{number}{word}", f"{number} {word.strip()} ago", f"cách đây {number} {word}"):
        if text.endswith(" d ago"):
            continue
        assert parse_instant(text, "--at", now_us=now_us, zone=SAIGON) == expected


@given(st.sampled_from(["hôm qua 21:40", "thứ bảy 8h", "2 giờ trước", "chủ nhật lúc 9 giờ tối", "cách đây 3 ngày"]))
def test_diacritics_and_case_are_optional(text: str):
    assert resolve(text) == resolve(normalize_text(text)) == resolve(text.upper())


@given(st.text(max_size=30) | st.from_regex(r"[0-9a-z:/+. -]{0,25}", fullmatch=True), nows_us)
def test_arbitrary_text_is_an_instant_or_refused(text: str, now_us: int):
    try:
        at_us = parse_instant(text, "--at", now_us=now_us, zone=SAIGON)
    except InvalidTime:
        return
    assert timedelta(microseconds=at_us) < timedelta(days=366 * 131)
    assert isinstance(at_us, int)
