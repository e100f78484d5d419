"""Which pictures make an epoch: where one starts, why it ends. The rest is left out and said so.

An epoch starts at a keyframe with parameter sets. It ends when parameter sets change, when decode times do not grow,
when media time leaps, when what comes is no video. Whether a leap is the camera's freeze or its clock's jump shows in the arrivals.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from districam_common.contract import ticks
from districam_common.contract.events import Cause
from districam_ingest.codec import h264, h265
from districam_ingest.codec.nal import BitstreamError, Codec, is_broken, is_keyframe, nal_type, parameter_sets
from districam_ingest.codec.reorder import DecodeTimes
from districam_ingest.codec.shape import VideoShape
from districam_ingest.units import Picture

DEFAULT_FPS: Final = 25.0
FREEZE_US: Final = 2_000_000
FREEZE_TICKS: Final = ticks.from_us(FREEZE_US)
FREEZE_INTERVALS: Final = 4
INTERVALS_SEEN: Final = 50


@dataclass(frozen=True, slots=True)
class Starts:
    """An epoch starts with the next `Takes`."""

    shape: VideoShape
    sets: tuple[bytes, ...]


@dataclass(slots=True, init=False)  # as `Picture`
class Takes:
    """The picture belongs to the epoch; `dts` in the reader's ticks."""

    picture: Picture
    dts: int
    is_keyframe: bool

    def __init__(self, picture: Picture, dts: int, *, is_keyframe: bool) -> None:
        self.picture, self.dts, self.is_keyframe = picture, dts, is_keyframe


@dataclass(frozen=True, slots=True)
class Ends:
    """The epoch is over before this picture; its own last picture lasts `interval_us`.

    `leaps`: media time went ahead though the pictures came close together, as when a clock jumps or some were not sent.
    """

    cause: Cause
    detail: str
    interval_us: int
    leaps: bool = False


@dataclass(frozen=True, slots=True)
class Leaves:
    """The picture belongs to no epoch: no keyframe yet."""

    detail: str


@dataclass(frozen=True, slots=True)
class Repeats:
    """The picture was sent twice: the epoch has it and goes on."""


Step = Starts | Takes | Ends | Leaves | Repeats


@dataclass(slots=True)
class _Epoch:
    shape: VideoShape
    sets: frozenset[bytes]
    times: DecodeTimes
    depth: int
    last: Picture | None = None
    last_dts: int | None = None
    intervals: list[int] = field(default_factory=list[int])

    @property
    def interval_ticks(self) -> int:
        """Nominal distance of two pictures: as seen, else as the stream says."""
        if len(self.intervals) >= 8:
            return sorted(self.intervals)[len(self.intervals) // 2]
        return round(ticks.VIDEO_RATE / (self.shape.fps or DEFAULT_FPS))

    @property
    def interval_us(self) -> int:
        return ticks.to_us(self.interval_ticks)

    def has(self, picture: Picture) -> bool:
        """Whether it is the last picture again."""
        return self.last is not None and picture.pts == self.last.pts and picture.nals == self.last.nals

    def ends(self, cause: Cause, detail: str) -> Ends:
        return Ends(cause, detail, self.interval_us)


class Gate:
    """Judges one connection's pictures in decode order."""

    def __init__(self, codec: Codec, sets: tuple[bytes, ...] = ()) -> None:
        self._codec: Codec = codec
        self._announced_sets = parameter_sets(codec, sets)  # from the SDP; in-band ones outrank them
        self._epoch: _Epoch | None = None
        self._deeper = 0  # learned reorder depth, for streams that do not say one

    @property
    def interval_us(self) -> int:
        """The epoch's nominal picture interval, for its last picture's duration."""
        return self._epoch.interval_us if self._epoch else round(1e6 / DEFAULT_FPS)

    def judge(self, picture: Picture) -> list[Step]:
        """What this picture means, in order; at most an end, a start and a taking."""
        if is_broken(self._codec, picture.nals):
            return self._break()
        may_key = is_keyframe(self._codec, picture.nals)
        key = may_key and not picture.is_damaged  # half of one cannot be decoded alone
        steps: list[Step] = []
        if self._epoch is not None:
            if self._epoch.has(picture):
                return [Repeats()]
            step = (
                self._changed(picture, key=may_key)
                or self._broken(self._epoch, picture)
                or self._taken(self._epoch, picture, key=key)
            )
            if isinstance(step, Takes):
                return [step]
            steps.append(step)
            self._epoch = None
        if not key:
            return [*steps, Leaves("waiting for a keyframe")]
        try:
            epoch, start = self._start(picture)
        except BitstreamError as error:
            return [*steps, Leaves(f"no usable parameter sets: {error}")]
        self._epoch = epoch
        return [*steps, start, self._taken(epoch, picture, key=True)]

    def end(self) -> None:
        """The connection is over, or the caller ended the epoch."""
        self._epoch = None

    def _break(self) -> list[Step]:
        epoch, self._epoch = self._epoch, None
        ends: list[Step] = [epoch.ends("stream_error", "bytes that are no picture")] if epoch else []
        return [*ends, Leaves("no picture")]

    def _start(self, picture: Picture) -> tuple[_Epoch, Starts]:
        sets = self._sets_of(picture)
        shape = (h264 if self._codec == "h264" else h265).shape(sets)
        depth = max(self._deeper, shape.reorder or 0)
        interval = round(ticks.VIDEO_RATE / (shape.fps or DEFAULT_FPS))
        return _Epoch(shape, frozenset(sets), DecodeTimes(depth, interval), depth), Starts(shape, sets)

    def _sets_of(self, picture: Picture) -> tuple[bytes, ...]:
        """In-band parameter sets, and announced ones of the kinds that it does not carry."""
        carried = parameter_sets(self._codec, picture.nals)
        kinds = {nal_type(self._codec, nal) for nal in carried}
        return (*(nal for nal in self._announced_sets if nal_type(self._codec, nal) not in kinds), *carried)

    def _changed(self, picture: Picture, *, key: bool) -> Ends | None:
        if not key or self._epoch is None:
            return None
        sets = parameter_sets(self._codec, picture.nals)
        if not sets or set(sets) <= self._epoch.sets:
            return None
        return self._epoch.ends("stream_changed", "other parameter sets")

    def _broken(self, epoch: _Epoch, picture: Picture) -> Ends | None:
        assert epoch.last is not None
        if 0 < picture.pts - epoch.last.pts <= FREEZE_TICKS:  # nearly always: no limit is less
            return None
        media_us = ticks.to_us(picture.pts - epoch.last.pts)
        limit_us = max(FREEZE_US, FREEZE_INTERVALS * ticks.to_us(epoch.interval_ticks))
        if media_us <= -limit_us:
            return epoch.ends("stream_error", f"timestamps went back by {-media_us / 1e6:.3f} s")
        if media_us == 0:
            return epoch.ends("stream_error", "two pictures have the same timestamp")
        if media_us <= limit_us:
            return None
        arrived_us = picture.arrival_us - epoch.last.arrival_us
        if arrived_us * 2 >= media_us:
            return epoch.ends("source_silent", f"no picture for {media_us / 1e6:.1f} s")
        ahead = epoch.ends("stream_error", f"timestamps went ahead by {media_us / 1e6:.3f} s")
        return replace(ahead, leaps=True)

    def _taken(self, epoch: _Epoch, picture: Picture, *, key: bool) -> Takes | Ends:
        dts = epoch.times.of(picture.pts)
        if epoch.last_dts is not None and dts <= epoch.last_dts:
            self._learn_depth(epoch)
            return epoch.ends("stream_error", f"decode times do not grow at a reorder depth of {epoch.depth}")
        if epoch.last_dts is not None and len(epoch.intervals) < INTERVALS_SEEN:
            epoch.intervals.append(dts - epoch.last_dts)
        epoch.last, epoch.last_dts = picture, dts
        return Takes(picture, dts, is_keyframe=key)

    def _learn_depth(self, epoch: _Epoch) -> None:
        """A stream that reorders more than it says: the next epoch allows one picture more."""
        if epoch.depth < 4:
            self._deeper = epoch.depth + 1
