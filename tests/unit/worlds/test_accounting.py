"""Whole worlds: every second is accounted for with its true cause, and final states do not change.

The examples are worlds in which a simpler rule, named by each, gives a wrong answer.
"""

import pytest
from hypothesis import example, given

from support import world_invariants as invariants
from support.examples import examples_percent
from support.world import World
from support.world_faults import (
    CAMERA_FAULTS,
    FAULTS_WITHOUT_LOSS,
    INDEX_FAULTS,
    INGEST_FAULTS,
    LOSS_BUGS,
    RECORD_FAULTS,
    STORAGE_FAULTS,
    ZOMBIE_FAULTS,
    Fault,
    FaultPlan,
    fault_plans,
)


@examples_percent(20)
@given(fault_plans([*FAULTS_WITHOUT_LOSS, *INDEX_FAULTS, "truncated", "tail_lost", "corrupt"]))
@example(FaultPlan((Fault("corrupt", 20, 1),))).via("an unreadable record is a pipeline_loss")
@example(FaultPlan((Fault("corrupt", 20, 12),))).via("the range ends at the next record of another camera")
@example(
    FaultPlan(
        (Fault("corrupt", 34, 12, 1), Fault("broker_clock_wrong", 15, 40, 1), Fault("stepped", 12, 50, 1)), seed=14
    )
).via("the range ends by the clock of a broker that is behind")
@example(FaultPlan((Fault("corrupt", 10, 4),))).via("records lost by the broker's disk were dropped by ingest")
@example(FaultPlan((Fault("silent", 20, 20), Fault("corrupt", 40, 1)))).via("a new epoch's first fragment")
@example(FaultPlan((Fault("silent", 25, 40), Fault("corrupt", 24, 2)))).via("nothing follows it for long")
@example(FaultPlan((Fault("killed", 26, 30), Fault("corrupt", 25, 2)))).via("an epoch's last fragment")
@example(FaultPlan((Fault("stalled", 10, 4),))).via("a timestamp jump after socket-buffered pictures is the camera's")
@example(FaultPlan((Fault("silent", 33, 46), Fault("stalled", 10, 23), Fault("killed", 10, 41, 1)))).via(
    "a camera that is silent after a stall was silent before"
)
@example(FaultPlan((Fault("changed", 21, 23), Fault("stalled", 23, 64)), seed=3, single_client=(True, False))).via(
    "socket-buffered pictures were captured when they were read"
)
@example(FaultPlan((Fault("lossy", 10, 2),))).via("packets lost at the end of a fragment belong to the next")
@example(FaultPlan((Fault("oversize", 20, 4),))).via("an oversize picture is shed alone")
@example(FaultPlan((Fault("oversize", 20, 30), Fault("shedding", 32, 10)))).via("a shed range may have any cause")
@example(FaultPlan((Fault("lossy", 20, 30),))).via("no fragment is marked lossy")
@example(FaultPlan((Fault("moved", 20, 10), Fault("killed", 42, 20, 1)))).via("a later event overrides `connected`")
@example(FaultPlan((Fault("lossy", 40, 30, 1), Fault("moved", 28, 10, 1)), seed=10)).via(
    "the replica that hands over reports for the one that had connected before"
)
@example(FaultPlan((Fault("disabled", 20, 30),))).via("an enabled camera is expected at once")
@example(FaultPlan((Fault("truncated", 60, 60), Fault("recorder", 20, 60)))).via(
    "truncation of the log's start is a pipeline_loss"
)
@example(FaultPlan((Fault("disabled", 20, 30), Fault("redis_restored", 19, 2)))).via(
    "the position in `cameras` is in memory only"
)
@example(FaultPlan((Fault("store", 20, 60), Fault("tail_lost", 40, 11), Fault("recorder", 38, 20)))).via(
    "truncation of the log's tail is a pipeline_loss"
)
@example(FaultPlan((Fault("recorder", 22, 20), Fault("tail_lost", 27, 15)), seed=3)).via(
    "a lost tail starts where a commit was at the end of the log"
)
@example(FaultPlan((Fault("recorder", 20, 20), Fault("tail_lost", 22, 14)), seed=3)).via(
    "a lost tail ends at the time of the surviving record"
)
@example(FaultPlan((Fault("suspended", 29, 29, 1), Fault("tail_lost", 10, 20, 1)), seed=15)).via(
    "a lost tail never ends before a record arrives"
)
@example(
    FaultPlan((Fault("restarted_ahead", 43, 13, 1), Fault("tail_lost", 57, 20, 1), Fault("store", 60, 33)), seed=3)
).via("a dead ingest before a lost tail is told from what was lost")
@example(
    FaultPlan((Fault("stalled", 32, 46), Fault("renamed", 60, 29), Fault("tail_lost", 13, 20)), 14, (True, True))
).via("a stall after a lost tail is told from what was lost")
@example(FaultPlan((Fault("corrupt", 40, 12), Fault("unreachable", 43, 53), Fault("cut_off", 22, 22)), seed=6)).via(
    "what was kept for long and then corrupted is told from what we lost"
)
@example(
    FaultPlan((Fault("corrupt", 34, 12, 1), Fault("renamed", 51, 54, 1), Fault("tail_lost", 46, 20, 1)), seed=10)
).via("the last record read is the last readable one")
@example(FaultPlan((Fault("suspended", 20, 45),))).via("bounds that an ack contradicts are kept along with it")
@example(FaultPlan((Fault("suspended", 42, 45, 1),), seed=14)).via("a step after a stall is a clock_step")
@example(FaultPlan((Fault("suspended", 58, 81, 1),), seed=2, single_client=(True, True))).via(
    "another replica that took over in the meantime ended the stream"
)
@example(FaultPlan((Fault("broker_clock_wrong", 20, 30),))).via("the tightest bounds of all brokers count")
@example(
    FaultPlan((Fault("broker_clock_wrong", 19, 27, 1), Fault("indexer", 18, 36, 1), Fault("lossy", 34, 30)), seed=14)
).via("append times give the order of events though their broker was ahead")
@example(
    FaultPlan((Fault("broker_clock_wrong", 30, 38, 1), Fault("recorder", 25, 21), Fault("changed", 55, 4)), seed=2)
).via("append times give the order of events though their broker was behind")
@example(
    FaultPlan((Fault("corrupt", 41, 12), Fault("cut_off", 11, 16, 1), Fault("killed", 28, 6)), 12, (True, False))
).via("a dead ingest is told from unreadable records")
@example(FaultPlan((Fault("broker_clock_wrong", 42, 23), Fault("broker_clock_wrong", 27, 75, 1)), seed=8)).via(
    "a broker whose clock has stepped is probed in the regular order"
)
@example(FaultPlan((Fault("restarted_ahead", 20, 30),))).via("the first pictures are sent before a broker was probed")
def test_every_second_is_accounted_for_with_its_true_cause(plan: FaultPlan):
    world = World(plan)
    invariants.check_states_tile_the_window(world)
    invariants.check_stored_is_recorded(world)
    invariants.check_picture_times(world)
    invariants.check_every_picture_is_accounted_for(world)
    invariants.check_stored_pictures_are_decodable(world)
    invariants.check_gap_causes(world)


@examples_percent(4)
@given(fault_plans(["renamed"], min_faults=1))
@example(FaultPlan((Fault("renamed", 20, 1),))).via("any change of a record ends its stream")
def test_a_change_of_other_fields_interrupts_no_stream(plan: FaultPlan):
    world = World(plan)
    invariants.check_one_epoch_per_camera(world)


@pytest.mark.correctness
@examples_percent(14)
@given(
    fault_plans([*RECORD_FAULTS, *RECORD_FAULTS, "silent", "unreachable", "killed", "moved", "broker"], min_faults=2)
)
@example(FaultPlan((Fault("unreachable", 10, 50), Fault("disabled", 40, 60), Fault("misdated", 30, 43)))).via(
    "a camera is disabled from the operator's time on"
)
@example(FaultPlan((Fault("disabled", 20, 60), Fault("misdated", 60, 40), Fault("silent", 70, 60)))).via(
    "a camera is enabled from the operator's time on"
)
@example(FaultPlan((Fault("disabled", 20, 60), Fault("misdated", 10, 40)))).via(
    "expectation ends at the later of the operator's time and the append time"
)
def test_operator_clocks_do_not_decide_when_a_camera_is_expected(plan: FaultPlan):
    world = World(plan, with_snapshots=True)
    invariants.check_states_tile_the_window(world)
    invariants.check_not_expected_only_while_disabled(world)
    invariants.check_every_picture_is_accounted_for(world)
    invariants.check_gap_causes(world)
    invariants.check_final_states(world, invariants.allow_inferred_service_down)


@examples_percent(14)
@given(fault_plans([*LOSS_BUGS, *LOSS_BUGS, "truncated", *FAULTS_WITHOUT_LOSS], min_faults=1))
@example(FaultPlan((Fault("announcement_skipped", 20, 1),))).via("a hole proves nothing")
@example(FaultPlan((Fault("corrupted_in_transit", 20, 2),))).via("a corrupt record counts as received")
def test_footage_lost_by_a_bug_remains_a_pipeline_loss(plan: FaultPlan):
    world = World(plan, with_snapshots=True)
    invariants.check_every_picture_is_accounted_for(world)
    invariants.check_bug_losses_are_reported(world)
    invariants.check_gap_causes(world)
    invariants.check_final_states(world, invariants.allow_all_but_pipeline_loss)


@examples_percent(14)
@given(fault_plans([*CAMERA_FAULTS, *INGEST_FAULTS, *STORAGE_FAULTS]))
@example(FaultPlan((Fault("shedding", 12, 90),))).via("a shed range is reported at its end; states 5 s old are settled")
@example(FaultPlan((Fault("indexer", 20, 90, 1),))).via("log_us is published before the records it covers are applied")
@example(FaultPlan((Fault("broker", 20, 100),), seed=3)).via("log_us advances as soon as the broker answers")
@example(FaultPlan((Fault("disabled", 10, 30), Fault("broker", 20, 30)))).via("a disabled camera has no footage")
@example(FaultPlan((Fault("leader", 20, 100),), seed=9)).via("the group's coordinator answers for all leaders")
@example(FaultPlan((Fault("broker_clock_wrong", 20, 81),))).via(
    "the latest append time of any broker is the current time"
)
def test_states_that_are_not_pending_are_final(plan: FaultPlan):
    world = World(plan, with_snapshots=True)
    invariants.check_states_tile_the_window(world)
    invariants.check_final_states(world, invariants.allow_no_change)


@examples_percent(10)
@given(fault_plans([*ZOMBIE_FAULTS, *FAULTS_WITHOUT_LOSS], min_faults=1))
@example(FaultPlan((Fault("cut_off", 20, 90), Fault("recorder", 110, 30)), seed=11)).via("`lost` is proof immediately")
@example(FaultPlan((Fault("cut_off", 20, 85), Fault("store", 100, 40)))).via("the broker's clock runs ahead")
def test_only_silence_inferred_as_service_down_may_change_later(plan: FaultPlan):
    invariants.check_final_states(World(plan, with_snapshots=True), invariants.allow_inferred_service_down)
