"""Whole worlds: what reaches the log is stored, indexed and shown, whatever befalls whom."""

from hypothesis import example, given

from support import world_judges as judges
from support.examples import share
from support.world import World
from support.world_faults import HARMLESS, OF_LEADERS, OF_STORAGE, Fate, Fault, fates


@share(16)
@given(
    fates([*OF_STORAGE, *OF_STORAGE, "moved", "lossy", "poisoned", "killed", "truncated", "rotten"], least=1)
)
def test_all_that_reaches_the_log_is_stored_and_announced_and_nothing_else(fate: Fate):
    world = World(fate)
    world.drain()
    judges.stores_what_the_log_held(world)
    judges.tells_what_it_rejects(world)


@share(12)
@given(fates([*HARMLESS, "poisoned"], most=4))
def test_any_order_and_a_list_of_the_bucket_give_the_same_index(fate: Fate):
    world = World(fate)
    world.drain()
    judges.indexes_alike_in_any_order(world)
    judges.lists_what_it_announced(world)


@share(14)
@given(fates(HARMLESS, most=4))
@example(Fate((Fault("skewed", 10, 10, 1), Fault("cut", 10, 11)))).via("two clocks at one cut")
@example(Fate((Fault("suspended", 20, 45),))).via(
    "pictures behind a pause are filed into what was recorded before it"
)
def test_a_clip_shows_each_picture_once_and_hides_none_in_silence(fate: Fate):
    judges.shows_each_picture_once(World(fate))


@share(14)
@given(fates([*OF_LEADERS, "torn", "killed", "store", "truncated"], least=1))
@example(Fate((Fault("torn", 40, 3),), dice=1)).via("a commit's offset is trusted in a log that grew again")
def test_a_log_that_lost_its_tail_costs_no_more_than_what_it_lost(fate: Fate):
    world = World(fate)
    world.drain()
    judges.stores_what_the_log_held(world)
