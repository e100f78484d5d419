"""Whole worlds: what reaches the log is stored, indexed and shown, whatever befalls whom."""

from hypothesis import example, given

from support import world_invariants as judges
from support.examples import examples_percent
from support.world import World
from support.world_faults import (
    FAULTS_WITHOUT_LOSS,
    LEADER_FAULTS,
    STORAGE_FAULTS,
    Fault,
    FaultPlan,
    fault_plans,
)


@examples_percent(16)
@given(
    fault_plans(
        [*STORAGE_FAULTS, *STORAGE_FAULTS, "moved", "lossy", "poisoned", "killed", "truncated", "rotten"],
        min_faults=1,
    )
)
def test_exactly_the_logged_footage_is_stored_and_announced(fate: FaultPlan):
    world = World(fate)
    world.finish_recording()
    judges.check_logged_footage_is_stored(world)
    judges.check_rejections_are_reported(world)


@examples_percent(12)
@given(fault_plans([*FAULTS_WITHOUT_LOSS, "poisoned"], max_faults=4))
def test_any_order_of_records_and_a_bucket_listing_give_the_same_index(fate: FaultPlan):
    world = World(fate)
    world.finish_recording()
    judges.check_index_is_order_independent(world)
    judges.check_listing_matches_announcements(world)


@examples_percent(14)
@given(fault_plans(FAULTS_WITHOUT_LOSS, max_faults=4))
@example(FaultPlan((Fault("skewed", 10, 10, 1), Fault("cut", 10, 11)))).via("two clocks at one cut")
@example(FaultPlan((Fault("suspended", 20, 45),))).via(
    "pictures behind a pause are filed into what was recorded before it"
)
def test_a_clip_shows_each_picture_once_and_reports_hidden_ones(fate: FaultPlan):
    judges.check_clip_shows_each_picture_once(World(fate))


@examples_percent(14)
@given(fault_plans([*LEADER_FAULTS, "torn", "killed", "store", "truncated"], min_faults=1))
@example(FaultPlan((Fault("torn", 40, 3),), seed=1)).via("a commit's offset is trusted in a log that grew again")
def test_log_truncation_loses_only_the_truncated_records(fate: FaultPlan):
    world = World(fate)
    world.finish_recording()
    judges.check_logged_footage_is_stored(world)
