from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from districam_common.contract.events import Connected, Lost, Profile, Refused
from districam_common.index.recent_events_cache import RecentEventsCache, events_for_current_status
from districam_common.ledger.causes import LoggedEvent, StatusEvent, effective_changes, status_changes
from support.announcements import EPOCHS, NOON_US, S


def refused(at_s: int) -> Refused:
    return Refused(
        camera_id="c", at_us=NOON_US + at_s * S, instance="i", cause="not_found", detail=f"{at_s}", next_retry_s=1.0
    )


def connected(at_s: int, epoch: int) -> Connected:
    return Connected(
        camera_id="c", at_us=NOON_US + at_s * S, instance="i", epoch=EPOCHS[epoch], reader="native", transport="tcp",
        codecs="avc1.640028", width=1, height=1,
    )  # fmt: skip


def lost(at_s: int, epoch: int, before_s: int) -> Lost:
    return Lost(
        camera_id="c", at_us=NOON_US + at_s * S, instance="i", epoch=EPOCHS[epoch], last_seq=1,
        end_us=NOON_US + (at_s - before_s) * S, cause="source_silent", detail="", next_retry_s=1.0,
    )  # fmt: skip


times = st.integers(0, 60)
events = st.one_of(
    times.map(refused),
    st.builds(connected, times, st.integers(0, 1)),
    st.builds(lost, times, st.integers(0, 1), st.integers(0, 20)),
)


def in_force_at(told: Sequence[LoggedEvent], now_us: int) -> StatusEvent | None:
    found = list(effective_changes(word for word in status_changes(told) if word.effective_us <= now_us))
    return found[-1].event if found else None


@given(st.lists(events, max_size=12), times, times)
def test_omitted_events_do_not_affect_the_later_status(found: list[StatusEvent], now_s: int, later_s: int):
    told = [LoggedEvent(event) for event in sorted(found, key=lambda event: event.at_us)]
    kept = events_for_current_status(told, NOON_US + now_s * S)
    at_us = NOON_US + (now_s + later_s) * S
    assert in_force_at(kept, at_us) == in_force_at(told, at_us)


def test_of_many_refused_events_only_the_last_is_kept():
    told = [
        LoggedEvent(connected(0, 0)),
        LoggedEvent(Profile(camera_id="c", at_us=NOON_US, instance="i", codecs="avc1", width=1, height=1)),
    ]
    told += [LoggedEvent(refused(n)) for n in range(1, 63)]
    assert events_for_current_status(told, NOON_US + 100 * S) == [told[0], told[-1]]


def test_events_are_decoded_only_when_changed():
    calls: list[list[bytes]] = []

    def parse(members: Sequence[bytes]) -> list[LoggedEvent]:
        calls.append([*members])
        return [LoggedEvent(refused(int(member))) for member in members]

    recent = RecentEventsCache(parse)
    for _ in range(3):
        assert recent.get("a", [b"1"], NOON_US) == [LoggedEvent(refused(1))]
        assert recent.get("b", [b"2"], NOON_US) == [LoggedEvent(refused(2))]
    assert calls == [[b"1"], [b"2"]]
    assert recent.get("a", [b"1", b"3"], NOON_US) == [LoggedEvent(refused(1)), LoggedEvent(refused(3))]
    assert recent.get("a", [b"1"], NOON_US) == [LoggedEvent(refused(1))], (
        "an event that was removed must not be returned"
    )
