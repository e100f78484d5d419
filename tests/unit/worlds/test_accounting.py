"""Whole worlds: every second is accounted for, with its true cause, and what was said once stays true."""

from hypothesis import example, given

from support import world_judges as judges
from support.world import World
from support.world_faults import (
    HARMLESS,
    OF_CAMERAS,
    OF_INGEST,
    OF_LOSS,
    OF_STORAGE,
    OF_ZOMBIES,
    Fate,
    Fault,
    fates,
)


@judges.share(20)
@given(fates([*HARMLESS, "truncated"]))
@example(Fate((Fault("stalled", 10, 4),))).via("the leap behind what the socket had kept was the camera's")
@example(Fate((Fault("lossy", 10, 2),))).via("pictures lost at the end of a fragment were nowhere")
def test_every_second_is_accounted_for_with_its_true_cause(fate: Fate):
    world = World(fate)
    judges.tiles(world)
    judges.records_what_is_stored(world)
    judges.accounts_for_every_picture(world)
    judges.blames_the_true_cause(world)


@judges.share(14)
@given(fates([*OF_LOSS, *OF_LOSS, "truncated", *HARMLESS], least=1))
def test_what_a_bug_loses_is_told_as_pipeline_loss_for_good(fate: Fate):
    world = World(fate, looks=True)
    judges.accounts_for_every_picture(world)
    judges.tells_what_a_bug_lost(world)
    judges.blames_the_true_cause(world)
    judges.changes_only(world, judges.no_loss)


@judges.share(14)
@given(fates([*OF_CAMERAS, *OF_INGEST, *OF_STORAGE]))
def test_what_is_not_pending_is_final(fate: Fate):
    world = World(fate, looks=True)
    judges.tiles(world)
    judges.changes_only(world, judges.nothing)


@judges.share(10)
@given(fates([*OF_ZOMBIES, *HARMLESS], least=1))
def test_only_a_silence_read_as_service_down_may_turn_out_otherwise(fate: Fate):
    judges.changes_only(World(fate, looks=True), judges.an_inferred_silence)
