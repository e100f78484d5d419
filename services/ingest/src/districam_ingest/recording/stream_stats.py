"""Statistics of an epoch's pictures: metrics, and the events `profile` and `clock`."""

from typing import Final

from districam_common.contract.events import Camera, ClockStep, Profile
from districam_ingest import metrics
from districam_ingest.codec.video_parameters import VideoParameters
from districam_ingest.output.sinks import Sinks
from districam_ingest.readers.reader import SourceInfo
from districam_ingest.recording.camera_clock import CameraClock
from districam_ingest.recording.jitter import JitterEstimator
from districam_ingest.recording.profiler import Profiler, ProfileWindow
from districam_ingest.recording.rate_limits import CameraRateLimits
from districam_ingest.units import AccessUnit, Picture

EXPORT_INTERVAL_US: Final = 2_000_000
"""Updating metrics per picture would cost as much as all other processing of it."""


class StreamStats:
    """Counts and measures every access unit of one epoch, in order."""

    def __init__(
        self,
        camera: Camera,
        video_parameters: VideoParameters,
        sinks: Sinks,
        source_info: SourceInfo,
        rate_limits: CameraRateLimits,
    ) -> None:
        self._camera, self._video_parameters, self._sinks, self._source_info = (
            camera,
            video_parameters,
            sinks,
            source_info,
        )
        self._rate_limits = rate_limits
        self._last_arrival_us = 0
        self._camera_id = camera.camera_id
        self._profiler, self._camera_clock, self._jitter = Profiler(), CameraClock(), JitterEstimator()
        self._published_findings: tuple[object, ...] | None = None
        self._access_units = metrics.ACCESS_UNITS.labels(camera.camera_id)
        self._bytes = metrics.BYTES.labels(camera.camera_id)
        self._packets_lost = metrics.PACKETS_LOST.labels(camera.camera_id)
        self._pictures_damaged = metrics.DAMAGED.labels(camera.camera_id)
        self._unexported_units = self._unexported_bytes = self._unexported_lost_packets = self._unexported_damaged = 0
        self._newest_us = self._exported_us = 0
        self._camera_us: int | None = None

    def record_arrival(self, picture: Picture, dts: int) -> None:
        """Takes a picture on arrival, before its wall-clock time is known; `dts` in the reader's ticks."""
        self._last_arrival_us = picture.arrival_us
        self._jitter.feed(picture.arrival_us, dts)

    def record(self, unit: AccessUnit) -> None:
        self._unexported_units += 1
        self._unexported_bytes += unit.size
        self._unexported_lost_packets += unit.lost_packets
        self._unexported_damaged += unit.is_damaged
        self._newest_us, self._camera_us = unit.start_us, unit.camera_us
        if unit.start_us - self._exported_us >= EXPORT_INTERVAL_US:
            self.export()
        if unit.camera_us is not None:
            self._record_clock_offset(unit.start_us, unit.camera_us - unit.start_us)
        window = self._profiler.feed(unit)
        if window is not None:
            self._record_window(unit.start_us, window)

    def export(self) -> None:
        """Adds the counts not exported yet to the metrics; also to be called at the epoch's end."""
        if not self._unexported_units:
            return
        newest_us = self._newest_us
        self._access_units.inc(self._unexported_units)
        self._bytes.inc(self._unexported_bytes)
        self._packets_lost.inc(self._unexported_lost_packets)
        self._pictures_damaged.inc(self._unexported_damaged)
        metrics.LAST_ACCESS_UNIT.labels(self._camera_id).set(newest_us / 1e6)  # no series earlier: 0 would be 1970
        if self._camera_us is not None:
            metrics.CLOCK_OFFSET.labels(self._camera_id).set((self._camera_us - newest_us) / 1e6)
        self._unexported_units = self._unexported_bytes = self._unexported_lost_packets = self._unexported_damaged = 0
        self._exported_us = newest_us

    def _record_clock_offset(self, at_us: int, offset_us: int) -> None:
        if not self._camera_clock.needs_report(offset_us) or not self._rate_limits.clock_steps.try_acquire(
            self._last_arrival_us
        ):
            return
        change = self._camera_clock.feed(offset_us)
        event = ClockStep(
            camera_id=self._camera_id,
            at_us=at_us,
            instance=self._sinks.instance,
            offset_us=change.offset_us,
            step_us=change.step_us,
        )
        self._sinks.send_queue.put_event(self._camera_id, event)

    def _record_window(self, at_us: int, window: ProfileWindow) -> None:
        """Exports a window's measurements; sends `profile` if its findings have changed."""
        metrics.FPS.labels(self._camera_id).set(window.fps)
        if self._video_parameters.fps is None:
            metrics.NOMINAL_FPS.remove_by_labels({"camera": self._camera_id})
        else:
            metrics.NOMINAL_FPS.labels(self._camera_id).set(self._video_parameters.fps)
        if window.last_gop_s is not None:
            metrics.GOP.labels(self._camera_id).set(window.last_gop_s)
        metrics.JITTER.labels(self._camera_id).set(self._jitter.jitter_us / 1e6)
        defects = (*window.defects, *self._auth_defects())
        gop_s = window.longest_gop_s and round(window.longest_gop_s)
        findings = (round(window.fps), gop_s, window.has_b_frames, window.has_sender_reports, defects)
        if findings == self._published_findings or not self._rate_limits.profiles.try_acquire(self._last_arrival_us):
            return
        self._published_findings = findings
        event = self._profile(at_us, window, defects)
        self._sinks.send_queue.put_event(self._camera_id, event)

    def _auth_defects(self) -> tuple[str, ...]:
        if self._source_info.auth == "basic" and not self._camera.url.startswith("rtsps:"):
            return ("password is sent in clear text (Basic authentication): enable Digest on the camera",)
        return ()

    def _profile(self, at_us: int, window: ProfileWindow, defects: tuple[str, ...]) -> Profile:
        info, offset_us = self._source_info, window.clock_offset_us
        return Profile(
            camera_id=self._camera_id,
            at_us=at_us,
            instance=self._sinks.instance,
            codecs=self._video_parameters.codecs,
            width=self._video_parameters.width,
            height=self._video_parameters.height,
            fps=round(window.fps, 2),
            gop_s=window.longest_gop_s,
            audio=info.audio_codec,
            b_frames=window.has_b_frames,
            defects=defects,
            bits_per_s=window.bits_per_s,
            lost_packets=window.lost_packets if info.reader == "native" else None,
            jitter_s=round(self._jitter.jitter_us / 1e6, 4),
            reports=window.has_sender_reports,
            clock_offset_s=None if offset_us is None else round(offset_us / 1e6, 3),
            clock_drift_ppm=window.clock_drift_ppm,
            transport=info.transport or self._camera.transport,
            auth=info.auth,
            server=info.server,
        )
