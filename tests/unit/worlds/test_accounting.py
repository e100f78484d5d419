"""Whole worlds: every second is accounted for, with its true cause, and what was said once stays true.

The examples are worlds in which a simpler rule, named beside each, tells something false.
"""

import pytest
from hypothesis import example, given

from support import world_invariants as judges
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
@given(fault_plans([*FAULTS_WITHOUT_LOSS, *INDEX_FAULTS, "truncated", "torn", "rotten"]))
@example(FaultPlan((Fault("rotten", 20, 1),))).via("what cannot be read is a pipeline_loss")
@example(FaultPlan((Fault("rotten", 20, 12),))).via("the range ends at the next record of another camera")
@example(FaultPlan((Fault("rotten", 10, 4),))).via("what the broker's disk took was dropped by ingest")
@example(FaultPlan((Fault("silent", 20, 20), Fault("rotten", 40, 1)))).via("a new epoch's first fragment")
@example(FaultPlan((Fault("silent", 25, 40), Fault("rotten", 24, 2)))).via("nothing is read behind it for long")
@example(FaultPlan((Fault("killed", 26, 30), Fault("rotten", 25, 2)))).via("an epoch's last fragment")
@example(FaultPlan((Fault("stalled", 10, 4),))).via("a leap behind what the socket had kept is the camera's")
@example(FaultPlan((Fault("silent", 33, 46), Fault("stalled", 10, 23), Fault("killed", 10, 41, 1)))).via(
    "a camera that is silent behind a standstill was so before"
)
@example(FaultPlan((Fault("changed", 21, 23), Fault("stalled", 23, 64)), seed=3, single_client=(True, False))).via(
    "what the socket had kept was taken when it was read"
)
@example(FaultPlan((Fault("lossy", 10, 2),))).via("what was lost at the end of a fragment belongs to the next")
@example(FaultPlan((Fault("oversize", 20, 4),))).via("a picture that is too large is shed alone")
@example(FaultPlan((Fault("oversize", 20, 30), Fault("shedding", 32, 10)))).via("a range of what is shed has any cause")
@example(FaultPlan((Fault("lossy", 20, 30),))).via("no fragment is marked lossy")
@example(FaultPlan((Fault("moved", 20, 10), Fault("killed", 42, 20, 1)))).via("a later event overrides `connected`")
@example(FaultPlan((Fault("lossy", 40, 30, 1), Fault("moved", 28, 10, 1)), seed=10)).via(
    "who hands over speaks for the one that had connected before"
)
@example(FaultPlan((Fault("disabled", 20, 30),))).via("an enabled camera is expected at once")
@example(FaultPlan((Fault("truncated", 60, 60), Fault("recorder", 20, 60)))).via("a fall is a pipeline_loss")
@example(FaultPlan((Fault("disabled", 20, 30), Fault("setback", 19, 2)))).via(
    "where `cameras` is read on is in memory alone"
)
@example(FaultPlan((Fault("store", 20, 60), Fault("torn", 40, 11), Fault("recorder", 38, 20)))).via(
    "a tear is a pipeline_loss"
)
@example(FaultPlan((Fault("recorder", 22, 20), Fault("torn", 27, 15)), seed=3)).via(
    "a tear begins where a commit rested at the end of the log"
)
@example(FaultPlan((Fault("recorder", 20, 20), Fault("torn", 22, 14)), seed=3)).via(
    "a tear ends at the survivor's time"
)
@example(FaultPlan((Fault("suspended", 29, 29, 1), Fault("torn", 10, 20, 1)), seed=15)).via(
    "a tear is never over before a record comes"
)
@example(FaultPlan((Fault("suspended", 20, 45),))).via("bounds that an ack contradicts are believed with it")
@example(FaultPlan((Fault("suspended", 42, 45, 1),), seed=14)).via("a step behind a standstill is a clock's fault")
@example(FaultPlan((Fault("suspended", 58, 81, 1),), seed=2, single_client=(True, True))).via(
    "another replica that took over meanwhile has ended the stream"
)
@example(FaultPlan((Fault("stray", 20, 30),))).via("the narrowest bounds of all brokers count")
@example(FaultPlan((Fault("stray", 42, 23), Fault("stray", 27, 75, 1)), seed=8)).via(
    "a broker whose clock has moved is asked in its turn"
)
@example(FaultPlan((Fault("ahead", 20, 30),))).via("the first pictures leave before a broker was asked")
def test_every_second_is_accounted_for_with_its_true_cause(fate: FaultPlan):
    world = World(fate)
    judges.check_states_tile_the_window(world)
    judges.check_stored_is_recorded(world)
    judges.check_picture_times(world)
    judges.check_every_picture_is_accounted_for(world)
    judges.check_stored_pictures_are_decodable(world)
    judges.check_gap_causes(world)


@examples_percent(4)
@given(fault_plans(["renamed"], min_faults=1))
@example(FaultPlan((Fault("renamed", 20, 1),))).via("a record that changes ends its stream")
def test_a_change_of_other_fields_interrupts_no_stream(fate: FaultPlan):
    world = World(fate)
    judges.check_one_epoch_per_camera(world)


@pytest.mark.correctness
@examples_percent(14)
@given(
    fault_plans([*RECORD_FAULTS, *RECORD_FAULTS, "silent", "unreachable", "killed", "moved", "broker"], min_faults=2)
)
@example(FaultPlan((Fault("unreachable", 10, 50), Fault("disabled", 40, 60), Fault("misdated", 30, 43)))).via(
    "a camera is disabled since its operator's clock says so"
)
@example(FaultPlan((Fault("disabled", 20, 60), Fault("misdated", 60, 40), Fault("silent", 70, 60)))).via(
    "a camera is enabled since its operator's clock says so"
)
@example(FaultPlan((Fault("disabled", 20, 60), Fault("misdated", 10, 40)))).via(
    "expectation ends at the later of the operator's time and the log's"
)
def test_operator_clocks_do_not_decide_when_a_camera_is_expected(fate: FaultPlan):
    world = World(fate, with_snapshots=True)
    judges.check_states_tile_the_window(world)
    judges.check_not_expected_only_while_disabled(world)
    judges.check_every_picture_is_accounted_for(world)
    judges.check_gap_causes(world)
    judges.check_final_states(world, judges.allow_inferred_service_down)


@examples_percent(14)
@given(fault_plans([*LOSS_BUGS, *LOSS_BUGS, "truncated", *FAULTS_WITHOUT_LOSS], min_faults=1))
@example(FaultPlan((Fault("forgetful", 20, 1),))).via("a hole proves nothing")
@example(FaultPlan((Fault("poisoned", 20, 2),))).via("a spoilt record counts as come")
def test_footage_lost_by_a_bug_remains_a_pipeline_loss(fate: FaultPlan):
    world = World(fate, with_snapshots=True)
    judges.check_every_picture_is_accounted_for(world)
    judges.check_bug_losses_are_reported(world)
    judges.check_gap_causes(world)
    judges.check_final_states(world, judges.allow_all_but_pipeline_loss)


@examples_percent(14)
@given(fault_plans([*CAMERA_FAULTS, *INGEST_FAULTS, *STORAGE_FAULTS]))
@example(FaultPlan((Fault("shedding", 12, 90),))).via("a shed is told at its end; what is 5 s old is settled")
@example(FaultPlan((Fault("indexer", 20, 90, 1),))).via("log_us is published before what it stands for is applied")
@example(FaultPlan((Fault("broker", 20, 100),), seed=3)).via("log_us moves as soon as the broker answers")
@example(FaultPlan((Fault("disabled", 10, 30), Fault("broker", 20, 30)))).via("a disabled camera has no footage")
@example(FaultPlan((Fault("leader", 20, 100),), seed=9)).via("the group's coordinator answers for all leaders")
@example(FaultPlan((Fault("stray", 20, 81),))).via("the largest append time of any broker is now")
def test_states_that_are_not_pending_are_final(fate: FaultPlan):
    world = World(fate, with_snapshots=True)
    judges.check_states_tile_the_window(world)
    judges.check_final_states(world, judges.allow_no_change)


@examples_percent(10)
@given(fault_plans([*ZOMBIE_FAULTS, *FAULTS_WITHOUT_LOSS], min_faults=1))
@example(FaultPlan((Fault("cut", 20, 90), Fault("recorder", 110, 30)), seed=11)).via("`lost` proves at once")
@example(FaultPlan((Fault("cut", 20, 85), Fault("store", 100, 40)))).via("the broker's clock runs ahead")
def test_only_silence_inferred_as_service_down_may_change_later(fate: FaultPlan):
    judges.check_final_states(World(fate, with_snapshots=True), judges.allow_inferred_service_down)
