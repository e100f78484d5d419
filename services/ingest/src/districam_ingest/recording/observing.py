"""What is told of an epoch's pictures beside storing them: metrics, the camera's profile, its clock."""

from typing import Final

from districam_common.contract.events import Camera, ClockStep, Profile
from districam_ingest import metrics
from districam_ingest.codec.shape import VideoShape
from districam_ingest.output.outlets import Outlets
from districam_ingest.readers.reading import SourceInfo
from districam_ingest.recording.budget import Budget
from districam_ingest.recording.camera_clock import CameraClock
from districam_ingest.recording.jitter import Jitter
from districam_ingest.recording.profiler import Profiler, Seen
from districam_ingest.units import AccessUnit, Picture

COUNTED_EVERY_US: Final = 2_000_000
"""Metrics cost as much as all the rest that is done for a picture."""


class Observer:
    """Sees every access unit of one epoch, in order."""

    def __init__(
        self, camera: Camera, shape: VideoShape, outlets: Outlets, info: SourceInfo, budget: Budget
    ) -> None:
        self._camera, self._shape, self._outlets, self._info = camera, shape, outlets, info
        self._budget = budget
        self._arrival_us = 0
        self._camera_id = camera.camera_id
        self._profiler, self._clock, self._jitter = Profiler(), CameraClock(), Jitter()
        self._told: tuple[object, ...] | None = None
        self._access_units = metrics.ACCESS_UNITS.labels(camera.camera_id)
        self._bytes = metrics.BYTES.labels(camera.camera_id)
        self._packets_lost = metrics.PACKETS_LOST.labels(camera.camera_id)
        self._pictures_damaged = metrics.DAMAGED.labels(camera.camera_id)
        self._uncounted = self._size = self._lost = self._damaged = 0
        self._newest_us = self._counted_us = 0
        self._camera_us: int | None = None

    def arrive(self, picture: Picture, dts: int) -> None:
        """A picture as it comes, before its time is known; `dts` in the reader's ticks."""
        self._arrival_us = picture.arrival_us
        self._jitter.push(picture.arrival_us, dts)

    def see(self, unit: AccessUnit) -> None:
        self._uncounted += 1
        self._size += unit.size
        self._lost += unit.lost_packets
        self._damaged += unit.is_damaged
        self._newest_us, self._camera_us = unit.start_us, unit.camera_us
        if unit.start_us - self._counted_us >= COUNTED_EVERY_US:
            self.count()
        if unit.camera_us is not None:
            self._see_clock(unit.start_us, unit.camera_us - unit.start_us)
        seen = self._profiler.push(unit)
        if seen is not None:
            self._see_window(unit.start_us, seen)

    def count(self) -> None:
        """Lets the metrics know of all that was seen; to be called at the end."""
        if not self._uncounted:
            return
        newest_us = self._newest_us
        self._access_units.inc(self._uncounted)
        self._bytes.inc(self._size)
        self._packets_lost.inc(self._lost)
        self._pictures_damaged.inc(self._damaged)
        metrics.LAST_ACCESS_UNIT.labels(self._camera_id).set(newest_us / 1e6)  # none before: 0 would be a lie
        if self._camera_us is not None:
            metrics.CLOCK_OFFSET.labels(self._camera_id).set((self._camera_us - newest_us) / 1e6)
        self._uncounted = self._size = self._lost = self._damaged = 0
        self._counted_us = newest_us

    def _see_clock(self, at_us: int, offset_us: int) -> None:
        if not self._clock.has_stepped(offset_us) or not self._budget.steps.take(self._arrival_us):
            return
        stepped = self._clock.step(offset_us)
        event = ClockStep(
            camera_id=self._camera_id,
            at_us=at_us,
            instance=self._outlets.instance,
            offset_us=stepped.offset_us,
            step_us=stepped.step_us,
        )
        self._outlets.outbox.offer_event(self._camera_id, event)

    def _see_window(self, at_us: int, seen: Seen) -> None:
        """Ten seconds' findings; the profile is told when it is another one."""
        metrics.FPS.labels(self._camera_id).set(seen.fps)
        if self._shape.fps is None:
            metrics.NOMINAL_FPS.remove_by_labels({"camera": self._camera_id})
        else:
            metrics.NOMINAL_FPS.labels(self._camera_id).set(self._shape.fps)
        if seen.last_gop_s is not None:
            metrics.GOP.labels(self._camera_id).set(seen.last_gop_s)
        metrics.JITTER.labels(self._camera_id).set(self._jitter.us / 1e6)
        defects = (*seen.defects, *self._promises_broken())
        gop_s = seen.longest_gop_s and round(seen.longest_gop_s)
        findings = (round(seen.fps), gop_s, seen.b_frames, seen.reports, defects)
        if findings == self._told or not self._budget.profiles.take(self._arrival_us):
            return
        self._told = findings
        event = self._profile(at_us, seen, defects)
        self._outlets.outbox.offer_event(self._camera_id, event)

    def _promises_broken(self) -> tuple[str, ...]:
        if self._info.auth == "basic" and not self._camera.url.startswith("rtsps:"):
            return ("the password goes to it in clear (Basic): switch Digest on",)
        return ()

    def _profile(self, at_us: int, seen: Seen, defects: tuple[str, ...]) -> Profile:
        info, offset_us = self._info, seen.clock_offset_us
        return Profile(
            camera_id=self._camera_id,
            at_us=at_us,
            instance=self._outlets.instance,
            codecs=self._shape.codecs,
            width=self._shape.width,
            height=self._shape.height,
            fps=round(seen.fps, 2),
            gop_s=seen.longest_gop_s,
            audio=info.sound_name,
            b_frames=seen.b_frames,
            defects=defects,
            bits_per_s=seen.bits_per_s,
            lost_packets=seen.lost_packets if info.reader == "native" else None,
            jitter_s=round(self._jitter.us / 1e6, 4),
            reports=seen.reports,
            clock_offset_s=None if offset_us is None else round(offset_us / 1e6, 3),
            clock_drift_ppm=seen.clock_drift_ppm,
            transport=info.transport or self._camera.transport,
            auth=info.auth,
            server=info.server,
        )
