"""Thirty cameras on three ingest replicas: one is added, one frozen, one stopped, one killed, one cut off from Kafka.

All in one run. The freeze lasts `FREEZE_S` seconds or as long as the other steps take, about 50:
`FREEZE_S=120` for two minutes.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Generator
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from districam_common.contract.names import parse_segment_object_key
from districam_devkit.api_client import TimelineState
from support.sharding_scenario import (
    CHANGED_CAMERA_ID,
    FIRST,
    FOURTH,
    GOP_S,
    IDS,
    SECOND,
    SESSION_S,
    SINGLE_CLIENT_IDS,
    THIRD,
    ShardingResult,
    Step,
    run_scenario,
    single_client_ids_of_first,
)

FREEZE_S = float(os.environ.get("FREEZE_S", "30"))
CONNECT_S = 3.0
"""A single-client camera refuses the new replica before the old one left; the next attempt follows within 2 s."""
TAKEOVER_S = SESSION_S + 6 + GOP_S
MANY = [camera_id for camera_id in IDS if camera_id not in SINGLE_CLIENT_IDS]

pytestmark = pytest.mark.timeout(300 + FREEZE_S)


@pytest.fixture(scope="module")
def story() -> Generator[ShardingResult]:
    with TemporaryDirectory(prefix="districam-") as home:
        yield asyncio.run(run_scenario(Path(home), FREEZE_S))


def seconds(gaps: list[TimelineState]) -> float:
    return sum(gap.to_us - gap.from_us for gap in gaps) / 1e6


def untouched(story: ShardingResult, act: Step, camera_ids: list[str]) -> None:
    """The step cost these cameras neither a picture nor a connection."""
    for camera_id in camera_ids:
        filmed = story.cameras[camera_id]
        assert filmed.gaps(act) == [], camera_id
        assert filmed.new_connections(act) == 0, camera_id


@pytest.mark.parametrize("camera_id", IDS)
def test_every_picture_is_stored_or_in_a_gap_and_none_is_in_a_clip_twice(story: ShardingResult, camera_id: str) -> None:
    filmed = story.cameras[camera_id]
    stored = {picture.number for one in filmed.objects for picture in one.pictures}
    assert len(stored) > 300
    assert (filmed.counts.unaccounted, filmed.counts.duplicates) == (0, 0), filmed.counts
    assert filmed.clip == sorted(stored)


@pytest.mark.parametrize("camera_id", IDS)
def test_a_playlist_repeats_at_most_one_segment_at_a_handover(story: ShardingResult, camera_id: str) -> None:
    filmed = story.cameras[camera_id]
    epochs = {parse_segment_object_key(one.key, 0).entry.epoch for one in filmed.objects}
    repeated = sorted(number for number, times in Counter(filmed.playlist).items() if times > 1)
    runs = [list(run) for _, run in groupby(repeated, lambda number: number - repeated.index(number))]
    assert len(runs) < len(epochs)
    longest = max((len(one.pictures) for one in filmed.objects), default=0)
    assert all(len(run) <= longest for run in runs)


def test_a_joining_replica_takes_cameras_and_others_exchange_none(story: ShardingResult) -> None:
    added = story.steps["added"]
    assert added.moved_camera_ids
    assert {replica for camera_id in added.moved_camera_ids for replica in added.after[camera_id]} == {FOURTH}
    assert {replica for at in added.after.values() for replica in at} == {FIRST, SECOND, THIRD, FOURTH}


def test_a_joining_replica_interrupts_no_stream(story: ShardingResult) -> None:
    added = story.steps["added"]
    untouched(story, added, [camera_id for camera_id in IDS if camera_id not in added.moved_camera_ids])
    for camera_id in added.moved_camera_ids:
        gaps = story.cameras[camera_id].gaps(added)
        assert seconds(gaps) <= (CONNECT_S + GOP_S if camera_id in SINGLE_CLIENT_IDS else 0), (camera_id, gaps)


def test_a_stopping_replica_hands_over_without_a_gap(story: ShardingResult) -> None:
    stopped, waiting = story.steps["stopped"], single_client_ids_of_first(story.steps["frozen"].before)
    assert any(SECOND in stopped.before[camera_id] for camera_id in stopped.moved_camera_ids)
    still = [camera_id for camera_id in IDS if camera_id not in {*stopped.moved_camera_ids, *waiting}]
    untouched(story, stopped, still)
    for camera_id in stopped.moved_camera_ids:
        gaps = story.cameras[camera_id].gaps(stopped)
        assert seconds(gaps) <= (CONNECT_S + GOP_S if camera_id in SINGLE_CLIENT_IDS else 0), (camera_id, gaps)


def test_a_killed_replica_costs_at_most_the_session_timeout_as_service_down(story: ShardingResult) -> None:
    """What the frozen replica also recorded, it finds in its socket buffers when it resumes: no gap."""
    killed, frozen = story.steps["killed"], story.steps["frozen"]
    waiting = single_client_ids_of_first(frozen.before)
    alone = [camera_id for camera_id in killed.moved_camera_ids if FIRST not in frozen.before[camera_id]]
    assert alone
    for camera_id in alone:
        gaps = story.cameras[camera_id].gaps(killed)
        assert {gap.cause for gap in gaps} == {"service_down"}, (camera_id, gaps)
        assert seconds(gaps) <= TAKEOVER_S, (camera_id, gaps)
    still = [camera_id for camera_id in IDS if camera_id not in {*killed.moved_camera_ids, *waiting}]
    untouched(story, killed, still)


def test_the_cameras_of_a_frozen_replica_are_taken_over(story: ShardingResult) -> None:
    frozen = story.steps["frozen"]
    of_it = [camera_id for camera_id in MANY if FIRST in frozen.before[camera_id]]
    assert of_it
    for camera_id in of_it:
        gaps = story.cameras[camera_id].gaps(frozen)
        assert seconds(gaps) <= TAKEOVER_S, (camera_id, gaps)
    untouched(story, frozen, [camera_id for camera_id in IDS if FIRST not in frozen.before[camera_id]])


def test_a_thawed_replica_rejoins_and_interrupts_nothing(story: ShardingResult) -> None:
    thawed = story.steps["thawed"]
    assert {replica for at in thawed.after.values() for replica in at} == {FIRST, FOURTH}
    for camera_id in MANY:
        assert story.cameras[camera_id].gaps(thawed) == [], camera_id


@pytest.mark.correctness
def test_a_changed_name_or_group_restarts_no_camera(story: ShardingResult) -> None:
    renamed, waiting = story.steps["renamed"], single_client_ids_of_first(story.steps["frozen"].before)
    assert not renamed.moved_camera_ids
    untouched(story, renamed, [camera_id for camera_id in IDS if camera_id not in waiting])


def test_a_changed_record_restarts_that_camera_only(story: ShardingResult) -> None:
    changed, waiting = story.steps["changed"], single_client_ids_of_first(story.steps["frozen"].before)
    assert not changed.moved_camera_ids
    untouched(story, changed, [camera_id for camera_id in IDS if camera_id not in {CHANGED_CAMERA_ID, *waiting}])
    filmed = story.cameras[CHANGED_CAMERA_ID]
    assert filmed.new_connections(changed) == 1
    gaps = filmed.gaps(changed)
    assert {gap.cause for gap in gaps} <= {"stream_changed"}, gaps
    assert seconds(gaps) <= CONNECT_S + GOP_S


def test_a_replica_without_the_broker_keeps_reading_and_loses_nothing(story: ShardingResult) -> None:
    """Others take its cameras over; it stops single-client ones, and sends its buffered records once reconnected."""
    cut, healed = story.steps["cut"], story.steps["healed"]
    of_it = [camera_id for camera_id in IDS if FOURTH in cut.before[camera_id]]
    assert of_it
    for camera_id in of_it:
        assert cut.after[camera_id] == frozenset({FIRST} if camera_id in SINGLE_CLIENT_IDS else {FIRST, FOURTH})
    for camera_id in MANY:
        filmed = story.cameras[camera_id]
        assert filmed.gaps(cut) == [], camera_id
        assert filmed.gaps(healed) == [], camera_id
    assert {replica for at in healed.after.values() for replica in at} == {FIRST, FOURTH}


def test_a_replica_that_rejoins_the_group_stops_reassigned_cameras(story: ShardingResult) -> None:
    healed = story.steps["healed"]
    assert all(len(at) == 1 for at in healed.after.values())
    assert any(healed.after[camera_id] == {FIRST} for camera_id in IDS)
