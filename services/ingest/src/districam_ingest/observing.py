"""What is told of an epoch's pictures beside storing them: metrics, the camera's profile, its clock."""

from districam_common.events import Camera, ClockStep, Profile
from districam_ingest import metrics
from districam_ingest.core.camera_clock import CameraClock
from districam_ingest.core.profiler import Profiler, Seen
from districam_ingest.core.shape import VideoShape
from districam_ingest.core.units import AccessUnit
from districam_ingest.outlets import Outlets


class Observer:
    """Sees every access unit of one epoch, in order."""

    def __init__(self, camera: Camera, shape: VideoShape, outlets: Outlets) -> None:
        self._camera_id, self._shape, self._outlets = camera.camera_id, shape, outlets
        self._profiler, self._clock = Profiler(), CameraClock()
        self._told: tuple[object, ...] | None = None

    def see(self, unit: AccessUnit) -> None:
        camera_id = self._camera_id
        metrics.ACCESS_UNITS.labels(camera_id).inc()
        metrics.BYTES.labels(camera_id).inc(len(unit.data))
        metrics.PACKETS_LOST.labels(camera_id).inc(unit.lost_packets)
        metrics.LAST_ACCESS_UNIT.labels(camera_id).set(unit.start_us / 1e6)
        if unit.camera_us is not None:
            self._see_clock(unit.start_us, unit.camera_us - unit.start_us)
        seen = self._profiler.push(unit)
        if seen is not None:
            self._see_window(unit.start_us, seen)

    def _see_clock(self, at_us: int, offset_us: int) -> None:
        metrics.CLOCK_OFFSET.labels(self._camera_id).set(offset_us / 1e6)
        stepped = self._clock.push(offset_us)
        if stepped is None:
            return
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
        if seen.gop_s is not None:
            metrics.GOP.labels(self._camera_id).set(seen.gop_s)
        findings = (round(seen.fps), seen.gop_s and round(seen.gop_s), seen.b_frames, seen.defects)
        if findings == self._told:
            return
        self._told = findings
        event = Profile(
            camera_id=self._camera_id,
            at_us=at_us,
            instance=self._outlets.instance,
            codecs=self._shape.codecs,
            width=self._shape.width,
            height=self._shape.height,
            fps=round(seen.fps, 2),
            gop_s=seen.gop_s,
            b_frames=seen.b_frames,
            defects=seen.defects,
        )
        self._outlets.outbox.offer_event(self._camera_id, event)
