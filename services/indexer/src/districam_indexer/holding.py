"""Applies holds: a legal hold on each version in a held window, on those stored later too; tells how far that has come.

A round costs a bounded number of requests, however long the windows are and however many holds there are; each hold has
its turn, and the next round goes on where this one ended.
"""
# Redis-py types its commands for text and bytes, sync and async, at once:
# pyright: reportUnknownMemberType=false

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis

from districam_common.contract import names, wire
from districam_common.errors import Rejected, Retriable
from districam_common.index.redis_door import redis_errors
from districam_common.ledger.holds import Hold, Holds, HoldState, cached_form
from districam_common.ledger.intervals import merge, touches
from districam_common.s3.hold_store import HoldStore
from districam_indexer import metrics
from districam_indexer.consume import Consumption
from districam_indexer.core.holding import in_turn, needless, state_of
from districam_indexer.core.looking import Looking
from districam_indexer.doors import Doors
from districam_indexer.hold_events import Explaining
from districam_indexer.hold_turn import Turn
from districam_indexer.protection import Protection

log = structlog.get_logger()

REQUESTS_A_ROUND = 2000
"""Of footage that has arrived, or was never looked at; some seconds' worth."""
AGAIN_A_ROUND = 100
"""Of windows that are looked at anew: 20 a second at the default `holds_s`."""
REQUESTS_A_TURN = 200
_LOOK_AGAIN_US = 600_000_000
"""At a window that is held, where nothing has arrived: somebody may have deleted there."""


@dataclass(slots=True)
class _Applied:
    """What this process has done for a hold; a new one does it again, which is harmless."""

    looking: Looking
    state: HoldState | None = None
    looked_us: int = 0


class Holding:
    """One loop."""

    def __init__(self, doors: Doors, consumption: Consumption, redis: Redis) -> None:
        self._doors = doors
        self._consumption = consumption
        self._redis = redis
        self._store = HoldStore(doors.vault)
        self._turn = Turn(doors.vault)
        self._explaining = Explaining(doors, self._store)
        self._protection = Protection(doors)
        self._applied: dict[str, _Applied] = {}
        self._last = {False: "", True: ""}

    async def run(self) -> None:
        """Until the service stops."""
        while not self._doors.runtime.stopping.is_set():
            has_more = False
            try:
                with metrics.round_of("holds"):
                    has_more = await self.round()
            except Retriable as error:
                log.warning("holds not applied", why=str(error))
            except Rejected as error:
                log.error("a hold cannot be read", why=str(error))
            await self._doors.runtime.stops_within(0 if has_more else self._doors.settings.indexer.holds_s)

    async def round(self) -> bool:
        """A bounded number of requests for the holds of this replica's cameras; whether something is left to be done."""
        if await self._protection.look():
            self._applied.clear()  # what was said of them holds no more
        cached, told = await self._doors.index.holds(), await self._doors.index.hold_states()
        holds = await self._store.all()
        metrics.HOLDS.labels("unread").set(len(holds.unread))
        await self._cache(cached, told, holds)
        ours = await self._ours(holds.read)
        # Also those that another replica has taken over: what arrives for them is not known here.
        for hold_id in self._applied.keys() - {hold.id for hold in ours}:
            del self._applied[hold_id]
        self._see_arrivals(ours)
        await self._explain(ours)
        for hold in ours:
            applied = self._applied.setdefault(hold.id, _Applied(Looking(hold)))
            applied.looking.begin_round()
            if applied.state is not None and hold.id not in told:  # Redis has been emptied
                await self._tell(hold, applied)
        try:
            await self._serve(ours, REQUESTS_A_ROUND, again=False)
            await self._serve(ours, AGAIN_A_ROUND, again=True)
        finally:
            self._count(ours)
        return any(applied.looking.is_urgent for applied in self._applied.values())

    async def _ours(self, holds: Sequence[Hold]) -> list[Hold]:
        if not holds:
            return []
        count = await self._doors.publisher.partitions(names.SEGMENTS)
        ours = self._consumption.segment_partitions
        return [hold for hold in holds if names.partition_of(hold.camera_id, count) in ours]

    async def _explain(self, ours: Sequence[Hold]) -> None:
        try:
            await self._explaining.look(ours)
        except Retriable as error:  # it has weeks; the footage is put under legal hold meanwhile
            log.warning("events of holds not kept yet", why=str(error))

    def _see_arrivals(self, ours: Sequence[Hold]) -> None:
        """In an open window, or long after it has closed: its recorder waited for the store."""
        arrived = self._doors.arrivals.take()
        for hold in ours:
            if (applied := self._applied.get(hold.id)) and hold.camera_id in arrived:
                inside = [
                    one for one in merge(arrived[hold.camera_id]) if touches([one], hold.from_us, hold.to_us)
                ]
                applied.looking.arrived(inside)

    async def _cache(self, cached: Mapping[str, bytes], told: Mapping[str, HoldState], holds: Holds) -> None:
        """The api lists holds from Redis; the bucket has them. One that cannot be read any more stays listed."""
        fields = {hold.id: cached_form(hold) for hold in holds.read}
        new = {one: body for one, body in fields.items() if cached.get(one) != body}
        old = needless([*cached, *told], [*holds.read, *holds.unread])
        with redis_errors("caching the holds"):
            if new:
                await self._redis.hset(names.HOLDS, mapping={**new})
            if old:
                await self._redis.hdel(names.HOLDS, *old)
                await self._redis.hdel(names.HOLD_STATES, *old)

    async def _serve(self, ours: Sequence[Hold], most: int, *, again: bool) -> None:
        """A turn for each hold that has something to be looked at, as long as there are requests left."""
        left = most
        for hold in in_turn(ours, self._last[again]):
            applied = self._applied[hold.id]
            if again and self._is_due_again(applied):
                applied.looking.look_again()
            is_wanted = applied.looking.is_looking_again if again else applied.looking.is_urgent
            if not is_wanted:
                continue
            if left <= 0:
                return
            self._last[again] = hold.id  # whatever comes of it: one hold's trouble is not the next one's
            left -= await self._serve_one(hold, applied, min(left, REQUESTS_A_TURN), again=again)

    async def _serve_one(self, hold: Hold, applied: _Applied, most: int, *, again: bool) -> int:
        is_protected = self._protection.is_enforced
        turn = await self._turn.take(hold, applied.looking, most, again=again, is_protected=is_protected)
        if turn.is_refused:
            self._protection.doubt()
        is_through = not (applied.looking.is_looking_again if again else applied.looking.is_urgent)
        if is_through and (again or not applied.looked_us):  # what arrives in between does not put it off
            applied.looked_us = self._doors.runtime.clock.monotonic_us()
        await self._tell(hold, applied)
        return turn.requests

    def _is_due_again(self, applied: _Applied) -> bool:
        if applied.looking.is_urgent or applied.looking.is_looking_again or not applied.looked_us:
            return False
        return self._doors.runtime.clock.monotonic_us() - applied.looked_us >= _LOOK_AGAIN_US

    async def _tell(self, hold: Hold, applied: _Applied) -> None:
        now_us = self._doors.runtime.clock.now_us()
        looking, before = applied.looking, applied.state
        state = state_of(
            looking.versions,
            looking.held,
            is_whole=looking.is_whole,
            is_protected=self._protection.is_enforced,
            now_us=now_us,
        )
        if before is None or before.state != state.state:
            log.info("hold", id=hold.id, state=state.state, versions=state.versions, held=state.held)
        applied.state = state
        with redis_errors("telling the state of a hold"):
            await self._redis.hset(names.HOLD_STATES, hold.id, wire.json_bytes(state))

    def _count(self, ours: Sequence[Hold]) -> None:
        states = Counter(state.state for hold in ours if (state := self._applied[hold.id].state))
        for name in ("enforced", "advisory", "partial"):
            metrics.HOLDS.labels(name).set(states[name])
