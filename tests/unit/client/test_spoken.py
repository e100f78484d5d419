"""Words for days and times of day."""

from datetime import time, timedelta

import pytest

from districam_client.spoken import Said, Unknown, read, span


def test_a_day_and_a_clock_in_either_order():
    assert read("hom qua 21:40") == read("luc 21h40 hom qua") == Said(days_ago=1, clock=time(21, 40))
    assert read("8 gio 24/11/2026") == Said(date=(2026, 11, 24), clock=time(8))
    assert read("24/11") == Said(date=(None, 11, 24))


def test_a_weekdays_number_is_not_its_hour():
    assert read("thu 2 7:15") == Said(weekday=0, clock=time(7, 15))
    assert read("thu 7 7h") == Said(weekday=5, clock=time(7))
    with pytest.raises(Unknown, match="'thu'"):
        read("thu 7h")


def test_halves_of_the_day_make_hours_certain():
    hours = {"3h chieu": 15, "3 pm": 15, "12 pm": 12, "12 am": 0, "9h toi": 21, "21h toi": 21, "8h sang": 8}
    assert {text: found.hour for text in hours if (found := read(text).clock)} == hours
    for text in ("2h toi", "12h toi", "13h sang", "21h chieu", "13 am"):
        with pytest.raises(Unknown, match="not certain"):
            read(text)


def test_lengths():
    assert span("1h30m") == span("1 gio 30 phut") == timedelta(minutes=90)
    assert span("2 tuan") == timedelta(weeks=2)
    assert [span(text) for text in ("", "5", "m", "5 thang", "5m 3", "-5m")] == [None] * 6
