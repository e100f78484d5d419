"""Splits one connection's pictures into epochs: where one starts, and why it ends. Other pictures are skipped.

An epoch starts at a keyframe with parameter sets. It ends when the parameter sets change, when decode times do not
increase, when media time jumps, or when the data is not valid video. The arrival times tell whether a jump of media
time is a pause of the camera or a jump of its clock.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from districam_common.contract import ticks
from districam_common.contract.events import Cause
from districam_ingest.codec import h264, h265
from districam_ingest.codec.dts_extractor import DtsExtractor
from districam_ingest.codec.nal import BitstreamError, Codec, is_corrupt, is_keyframe, nal_type, parameter_sets
from districam_ingest.codec.video_parameters import VideoParameters
from districam_ingest.units import Picture

DEFAULT_FPS: Final = 25.0
"""Assumed until measured, if the stream declares no rate."""
FREEZE_US: Final = 2_000_000
FREEZE_TICKS: Final = ticks.from_us(FREEZE_US)
FREEZE_INTERVALS: Final = 4
"""Media time may step by `FREEZE_US` or, for low frame rates, by this many picture intervals within an epoch."""
MAX_INTERVALS: Final = 50
"""Intervals measured per epoch; their median is the nominal one."""


@dataclass(frozen=True, slots=True)
class Start:
    """An epoch starts with the `Append` that follows."""

    video_parameters: VideoParameters
    parameter_sets: tuple[bytes, ...]


@dataclass(slots=True, init=False)  # as `Picture`
class Append:
    """The picture belongs to the epoch; `dts` is in the reader's ticks. `is_keyframe`: an undamaged keyframe."""

    picture: Picture
    dts: int
    is_keyframe: bool

    def __init__(self, picture: Picture, dts: int, *, is_keyframe: bool) -> None:
        self.picture, self.dts, self.is_keyframe = picture, dts, is_keyframe


@dataclass(frozen=True, slots=True)
class End:
    """The epoch ends before this picture.

    Attributes:
        interval_us: duration of the epoch's last picture.
        is_timestamp_jump: media time jumped ahead although the pictures arrived close together: the camera's clock
            jumped, or it did not send some pictures.
    """

    cause: Cause
    detail: str
    interval_us: int
    is_timestamp_jump: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """The picture belongs to no epoch: none can start with it."""

    detail: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The picture repeats the epoch's last one and is dropped."""


Decision = Start | Append | End | Skip | Duplicate


@dataclass(slots=True)
class _EpochState:
    video_parameters: VideoParameters
    parameter_sets: frozenset[bytes]
    dts_extractor: DtsExtractor
    reorder_depth: int
    last_picture: Picture | None = None
    last_dts: int | None = None
    intervals: list[int] = field(default_factory=list[int])

    @property
    def interval_ticks(self) -> int:
        """Nominal picture interval: the median of those measured, otherwise as declared by the stream."""
        if len(self.intervals) >= 8:
            return sorted(self.intervals)[len(self.intervals) // 2]
        return round(ticks.VIDEO_RATE / (self.video_parameters.fps or DEFAULT_FPS))

    @property
    def interval_us(self) -> int:
        return ticks.to_us(self.interval_ticks)

    def is_duplicate(self, picture: Picture) -> bool:
        """True if it has the last picture's timestamp and data."""
        return (
            self.last_picture is not None
            and picture.pts == self.last_picture.pts
            and picture.nals == self.last_picture.nals
        )

    def make_end(self, cause: Cause, detail: str) -> End:
        return End(cause, detail, self.interval_us)


class EpochSplitter:
    """Decides for one connection's pictures, in decode order, to which epoch they belong."""

    def __init__(self, codec: Codec, sdp_sets: tuple[bytes, ...] = ()) -> None:
        self._codec: Codec = codec
        self._sdp_sets = parameter_sets(codec, sdp_sets)  # in-band parameter sets take precedence
        self._epoch: _EpochState | None = None
        self._learned_depth = 0  # reorder depth found necessary, for streams that declare none or too low a one

    @property
    def interval_us(self) -> int:
        """The epoch's nominal picture interval, used as its last picture's duration."""
        return self._epoch.interval_us if self._epoch else round(1e6 / DEFAULT_FPS)

    def decide(self, picture: Picture) -> list[Decision]:
        """Returns the decisions for this picture in order: at most an `End`, a `Start` and an `Append`."""
        if is_corrupt(self._codec, picture.nals):
            return self._end_at_corrupt()
        has_keyframe_slices = is_keyframe(self._codec, picture.nals)
        is_intact_keyframe = has_keyframe_slices and not picture.is_damaged  # an incomplete one is not decodable
        decisions: list[Decision] = []
        if self._epoch is not None:
            if self._epoch.is_duplicate(picture):
                return [Duplicate()]
            decision = (
                self._check_parameter_sets(picture, has_keyframe_slices=has_keyframe_slices)
                or self._check_timestamps(self._epoch, picture)
                or self._append(self._epoch, picture, is_intact_keyframe=is_intact_keyframe)
            )
            if isinstance(decision, Append):
                return [decision]
            decisions.append(decision)
            self._epoch = None
        if not is_intact_keyframe:
            return [*decisions, Skip("waiting for a keyframe")]
        try:
            epoch, start = self._start_epoch(picture)
        except BitstreamError as error:
            return [*decisions, Skip(f"no usable parameter sets: {error}")]
        self._epoch = epoch
        return [*decisions, start, self._append(epoch, picture, is_intact_keyframe=True)]

    def close_epoch(self) -> None:
        """Forgets the epoch: the connection ended, or the caller ended the epoch."""
        self._epoch = None

    def _end_at_corrupt(self) -> list[Decision]:
        epoch, self._epoch = self._epoch, None
        decisions: list[Decision] = [epoch.make_end("stream_error", "data is not valid video")] if epoch else []
        return [*decisions, Skip("data is not valid video")]

    def _start_epoch(self, picture: Picture) -> tuple[_EpochState, Start]:
        active_sets = self._merge_parameter_sets(picture)
        video_parameters = (h264 if self._codec == "h264" else h265).parse_video_parameters(active_sets)
        depth = max(self._learned_depth, video_parameters.reorder_depth or 0)
        interval = round(ticks.VIDEO_RATE / (video_parameters.fps or DEFAULT_FPS))
        return _EpochState(video_parameters, frozenset(active_sets), DtsExtractor(depth, interval), depth), Start(
            video_parameters, active_sets
        )

    def _merge_parameter_sets(self, picture: Picture) -> tuple[bytes, ...]:
        """Returns the in-band parameter sets, and those of the SDP for types that are not in-band."""
        in_band_sets = parameter_sets(self._codec, picture.nals)
        in_band_types = {nal_type(self._codec, nal) for nal in in_band_sets}
        return (*(nal for nal in self._sdp_sets if nal_type(self._codec, nal) not in in_band_types), *in_band_sets)

    def _check_parameter_sets(self, picture: Picture, *, has_keyframe_slices: bool) -> End | None:
        if not has_keyframe_slices or self._epoch is None:
            return None
        in_band_sets = parameter_sets(self._codec, picture.nals)
        if not in_band_sets or set(in_band_sets) <= self._epoch.parameter_sets:
            return None
        return self._epoch.make_end("stream_changed", "parameter sets changed")

    def _check_timestamps(self, epoch: _EpochState, picture: Picture) -> End | None:
        assert epoch.last_picture is not None
        if 0 < picture.pts - epoch.last_picture.pts <= FREEZE_TICKS:  # the usual case: no limit is lower
            return None
        media_step_us = ticks.to_us(picture.pts - epoch.last_picture.pts)
        limit_us = max(FREEZE_US, FREEZE_INTERVALS * ticks.to_us(epoch.interval_ticks))
        if media_step_us <= -limit_us:
            return epoch.make_end("stream_error", f"timestamps jumped back by {-media_step_us / 1e6:.3f} s")
        if media_step_us == 0:
            return epoch.make_end("stream_error", "two pictures have the same timestamp")
        if media_step_us <= limit_us:
            return None
        arrival_step_us = picture.arrival_us - epoch.last_picture.arrival_us
        if arrival_step_us * 2 >= media_step_us:
            return epoch.make_end("source_silent", f"no picture for {media_step_us / 1e6:.1f} s")
        end = epoch.make_end("stream_error", f"timestamps jumped ahead by {media_step_us / 1e6:.3f} s")
        return replace(end, is_timestamp_jump=True)

    def _append(self, epoch: _EpochState, picture: Picture, *, is_intact_keyframe: bool) -> Append | End:
        dts = epoch.dts_extractor.feed(picture.pts)
        if epoch.last_dts is not None and dts <= epoch.last_dts:
            self._learn_depth(epoch)
            return epoch.make_end(
                "stream_error", f"decode times do not increase at a reorder depth of {epoch.reorder_depth}"
            )
        if epoch.last_dts is not None and len(epoch.intervals) < MAX_INTERVALS:
            epoch.intervals.append(dts - epoch.last_dts)
        epoch.last_picture, epoch.last_dts = picture, dts
        return Append(picture, dts, is_keyframe=is_intact_keyframe)

    def _learn_depth(self, epoch: _EpochState) -> None:
        """Raises the next epoch's reorder depth by one, up to 4: the stream reorders more than it declares."""
        if epoch.reorder_depth < 4:
            self._learned_depth = epoch.reorder_depth + 1
