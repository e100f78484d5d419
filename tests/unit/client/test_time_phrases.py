"""Parsing words for days and times of day."""

from datetime import time, timedelta

import pytest

from districam_client.time_phrases import TimePhrase, UnclearTime, parse_duration, parse_phrase


def test_day_and_time_of_day_are_parsed_in_either_order():
    assert (
        parse_phrase("hom qua 21:40") == parse_phrase("luc 21h40 hom qua") == TimePhrase(days_ago=1, clock=time(21, 40))
    )
    assert parse_phrase("8 gio 24/11/2026") == TimePhrase(date=(2026, 11, 24), clock=time(8))
    assert parse_phrase("24/11") == TimePhrase(date=(None, 11, 24))


def test_the_number_of_a_weekday_is_not_an_hour():
    assert parse_phrase("thu 2 7:15") == TimePhrase(weekday=0, clock=time(7, 15))
    assert parse_phrase("thu 7 7h") == TimePhrase(weekday=5, clock=time(7))
    with pytest.raises(UnclearTime, match="'thu'"):
        parse_phrase("thu 7h")


def test_am_pm_and_parts_of_the_day_determine_the_hour():
    hours = {"3h chieu": 15, "3 pm": 15, "12 pm": 12, "12 am": 0, "9h toi": 21, "21h toi": 21, "8h sang": 8}
    assert {text: found.hour for text in hours if (found := parse_phrase(text).clock)} == hours
    for text in ("2h toi", "12h toi", "13h sang", "21h chieu", "13 am"):
        with pytest.raises(UnclearTime, match="ambiguous"):
            parse_phrase(text)


def test_durations_are_parsed():
    assert parse_duration("1h30m") == parse_duration("1 gio 30 phut") == timedelta(minutes=90)
    assert parse_duration("2 tuan") == timedelta(weeks=2)
    assert [parse_duration(text) for text in ("", "5", "m", "5 thang", "5m 3", "-5m")] == [None] * 6
