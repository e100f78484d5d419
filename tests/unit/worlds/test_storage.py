"""Whole worlds: footage that reaches the log is stored, indexed and shown under any faults."""

from hypothesis import example, given

from support import world_invariants as invariants
from support.examples import examples_percent
from support.world import World
from support.world_faults import FAULTS_WITHOUT_LOSS, LEADER_FAULTS, STORAGE_FAULTS, Fault, FaultPlan, fault_plans


@examples_percent(16)
@given(
    fault_plans(
        [*STORAGE_FAULTS, *STORAGE_FAULTS, "moved", "lossy", "corrupted_in_transit", "killed", "truncated", "corrupt"],
        min_faults=1,
    )
)
def test_exactly_the_logged_footage_is_stored_and_announced(plan: FaultPlan):
    world = World(plan)
    world.finish_recording()
    invariants.check_logged_footage_is_stored(world)
    invariants.check_rejections_are_reported(world)


@examples_percent(12)
@given(fault_plans([*FAULTS_WITHOUT_LOSS, "corrupted_in_transit"], max_faults=4))
def test_any_order_of_records_and_a_bucket_listing_give_the_same_index(plan: FaultPlan):
    world = World(plan)
    world.finish_recording()
    invariants.check_index_is_order_independent(world)
    invariants.check_listing_matches_announcements(world)


@examples_percent(14)
@given(fault_plans(FAULTS_WITHOUT_LOSS, max_faults=4))
@example(FaultPlan((Fault("skewed", 10, 10, 1), Fault("cut_off", 10, 11)))).via("two clocks at one boundary")
@example(FaultPlan((Fault("suspended", 20, 45),))).via(
    "pictures after a pause are placed within footage from before it"
)
def test_a_clip_shows_each_picture_once_and_reports_hidden_ones(plan: FaultPlan):
    invariants.check_clip_shows_each_picture_once(World(plan))


@examples_percent(14)
@given(fault_plans([*LEADER_FAULTS, "tail_lost", "killed", "store", "truncated"], min_faults=1))
@example(FaultPlan((Fault("tail_lost", 40, 3),), seed=1)).via(
    "a commit's offset is trusted in a log that lost its tail and grew again"
)
def test_log_truncation_loses_only_the_truncated_records(plan: FaultPlan):
    world = World(plan)
    world.finish_recording()
    invariants.check_logged_footage_is_stored(world)
