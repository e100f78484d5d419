"""Whole worlds: every second is accounted for, with its true cause, and what was said once stays true.

The examples are worlds in which a simpler rule, named beside each, tells something false.
"""

import pytest
from hypothesis import example, given

from support import world_judges as judges
from support.examples import share
from support.world import World
from support.world_faults import (
    HARMLESS,
    OF_CAMERAS,
    OF_INDEX,
    OF_INGEST,
    OF_LOSS,
    OF_RECORDS,
    OF_STORAGE,
    OF_ZOMBIES,
    Fate,
    Fault,
    fates,
)


@share(20)
@given(fates([*HARMLESS, *OF_INDEX, "truncated", "torn", "rotten"]))
@example(Fate((Fault("rotten", 20, 1),))).via("what cannot be read is a pipeline_loss")
@example(Fate((Fault("rotten", 20, 12),))).via("the range ends at the next record of another camera")
@example(Fate((Fault("rotten", 10, 4),))).via("what the broker's disk took was dropped by ingest")
@example(Fate((Fault("silent", 20, 20), Fault("rotten", 40, 1)))).via("a new epoch's first fragment")
@example(Fate((Fault("silent", 25, 40), Fault("rotten", 24, 2)))).via("nothing is read behind it for long")
@example(Fate((Fault("killed", 26, 30), Fault("rotten", 25, 2)))).via("an epoch's last fragment")
@example(Fate((Fault("stalled", 10, 4),))).via("a leap behind what the socket had kept is the camera's")
@example(Fate((Fault("silent", 33, 46), Fault("stalled", 10, 23), Fault("killed", 10, 41, 1)))).via(
    "a camera that is silent behind a standstill was so before"
)
@example(Fate((Fault("changed", 21, 23), Fault("stalled", 23, 64)), dice=3, single_client=(True, False))).via(
    "what the socket had kept was taken when it was read"
)
@example(Fate((Fault("lossy", 10, 2),))).via("what was lost at the end of a fragment belongs to the next")
@example(Fate((Fault("oversize", 20, 4),))).via("a picture that is too large is shed alone")
@example(Fate((Fault("oversize", 20, 30), Fault("shedding", 32, 10)))).via(
    "a range of what is shed has any cause"
)
@example(Fate((Fault("lossy", 20, 30),))).via("no fragment is marked lossy")
@example(Fate((Fault("moved", 20, 10), Fault("killed", 42, 20, 1)))).via(
    "a later event overrides `connected`"
)
@example(Fate((Fault("lossy", 40, 30, 1), Fault("moved", 28, 10, 1)), dice=10)).via(
    "who hands over speaks for the one that had connected before"
)
@example(Fate((Fault("disabled", 20, 30),))).via("an enabled camera is expected at once")
@example(Fate((Fault("truncated", 60, 60), Fault("recorder", 20, 60)))).via("a fall is a pipeline_loss")
@example(Fate((Fault("disabled", 20, 30), Fault("setback", 19, 2)))).via(
    "where `cameras` is read on is in memory alone"
)
@example(Fate((Fault("store", 20, 60), Fault("torn", 40, 11), Fault("recorder", 38, 20)))).via(
    "a tear is a pipeline_loss"
)
@example(Fate((Fault("recorder", 22, 20), Fault("torn", 27, 15)), dice=3)).via(
    "a tear begins where a commit rested at the end of the log"
)
@example(Fate((Fault("recorder", 20, 20), Fault("torn", 22, 14)), dice=3)).via(
    "a tear ends at the survivor's time"
)
@example(Fate((Fault("suspended", 29, 29, 1), Fault("torn", 10, 20, 1)), dice=15)).via(
    "a tear is never over before a record comes"
)
@example(Fate((Fault("suspended", 20, 45),))).via("bounds that an ack contradicts are believed with it")
@example(Fate((Fault("suspended", 42, 45, 1),), dice=14)).via("a step behind a standstill is a clock's fault")
@example(Fate((Fault("suspended", 58, 81, 1),), dice=2, single_client=(True, True))).via(
    "another replica that took over meanwhile has ended the stream"
)
@example(Fate((Fault("stray", 20, 30),))).via("the narrowest bounds of all brokers count")
@example(Fate((Fault("stray", 42, 23), Fault("stray", 27, 75, 1)), dice=8)).via(
    "a broker whose clock has moved is asked in its turn"
)
@example(Fate((Fault("ahead", 20, 30),))).via("the first pictures leave before a broker was asked")
def test_every_second_is_accounted_for_with_its_true_cause(fate: Fate):
    world = World(fate)
    judges.tiles(world)
    judges.records_what_is_stored(world)
    judges.places_pictures_at_their_time(world)
    judges.accounts_for_every_picture(world)
    judges.stores_what_can_be_shown(world)
    judges.blames_the_true_cause(world)


@share(4)
@given(fates(["renamed"], least=1))
@example(Fate((Fault("renamed", 20, 1),))).via("a record that changes ends its stream")
def test_a_change_of_what_no_stream_depends_on_costs_nothing(fate: Fate):
    world = World(fate)
    judges.interrupts_nothing(world)


@pytest.mark.correctness
@share(14)
@given(fates([*OF_RECORDS, *OF_RECORDS, "silent", "unreachable", "killed", "moved", "broker"], least=2))
@example(Fate((Fault("unreachable", 10, 50), Fault("disabled", 40, 60), Fault("misdated", 30, 43)))).via(
    "a camera is disabled since its operator's clock says so"
)
@example(Fate((Fault("disabled", 20, 60), Fault("misdated", 60, 40), Fault("silent", 70, 60)))).via(
    "a camera is enabled since its operator's clock says so"
)
@example(Fate((Fault("disabled", 20, 60), Fault("misdated", 10, 40)))).via(
    "expectation ends at the later of the operator's time and the log's"
)
def test_no_operators_clock_decides_when_a_camera_was_expected(fate: Fate):
    world = World(fate, looks=True)
    judges.tiles(world)
    judges.excuses_only_what_nobody_wanted(world)
    judges.accounts_for_every_picture(world)
    judges.blames_the_true_cause(world)
    judges.changes_only(world, judges.an_inferred_silence)


@share(14)
@given(fates([*OF_LOSS, *OF_LOSS, "truncated", *HARMLESS], least=1))
@example(Fate((Fault("forgetful", 20, 1),))).via("a hole proves nothing")
@example(Fate((Fault("poisoned", 20, 2),))).via("a spoilt record counts as come")
def test_what_a_bug_loses_is_told_as_pipeline_loss_for_good(fate: Fate):
    world = World(fate, looks=True)
    judges.accounts_for_every_picture(world)
    judges.tells_what_a_bug_lost(world)
    judges.blames_the_true_cause(world)
    judges.changes_only(world, judges.no_loss)


@share(14)
@given(fates([*OF_CAMERAS, *OF_INGEST, *OF_STORAGE]))
@example(Fate((Fault("shedding", 12, 90),))).via("a shed is told at its end; what is 5 s old is settled")
@example(Fate((Fault("indexer", 20, 90, 1),))).via("log_us is published before what it stands for is applied")
@example(Fate((Fault("broker", 20, 100),), dice=3)).via("log_us moves as soon as the broker answers")
@example(Fate((Fault("disabled", 10, 30), Fault("broker", 20, 30)))).via("a disabled camera has no footage")
@example(Fate((Fault("leader", 20, 100),), dice=9)).via("the group's coordinator answers for all leaders")
@example(Fate((Fault("stray", 20, 81),))).via("the largest append time of any broker is now")
def test_what_is_not_pending_is_final(fate: Fate):
    world = World(fate, looks=True)
    judges.tiles(world)
    judges.changes_only(world, judges.nothing)


@share(10)
@given(fates([*OF_ZOMBIES, *HARMLESS], least=1))
@example(Fate((Fault("cut", 20, 90), Fault("recorder", 110, 30)), dice=11)).via("`lost` proves at once")
@example(Fate((Fault("cut", 20, 85), Fault("store", 100, 40)))).via("the broker's clock runs ahead")
def test_only_a_silence_read_as_service_down_may_turn_out_otherwise(fate: Fate):
    judges.changes_only(World(fate, looks=True), judges.an_inferred_silence)
