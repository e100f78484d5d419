"""The events of one epoch: `connected` with its first fragment, `shed` for what is dropped, `lost` as its last record."""

from dataclasses import replace

import structlog

from districam_common.contract.events import Camera, Cause, Connected, Lost, Shed
from districam_ingest import metrics
from districam_ingest.codec.video_parameters import VideoParameters
from districam_ingest.output.sinks import Sinks
from districam_ingest.readers.reader import SourceInfo
from districam_ingest.recording.shedder import ShedRange
from districam_ingest.units import UnmuxedFragment

log = structlog.get_logger()


class EpochEvents:
    """Queues an epoch's events. `connected` precedes the first fragment, sent or shed, so that `lost` always follows it."""

    def __init__(
        self, camera: Camera, epoch_id: str, sinks: Sinks, source_info: SourceInfo, video_parameters: VideoParameters
    ) -> None:
        self._camera, self._epoch_id, self._sinks = camera, epoch_id, sinks
        self._source_info, self._video_parameters = source_info, video_parameters
        self._connected: Connected | None = None
        self._last_fragment: tuple[int, int] | None = None  # seq and end_us of the last fragment queued or shed

    def record_fragment(self, fragment: UnmuxedFragment) -> None:
        """The fragment was queued or shed; `lost` will name the last one."""
        self._last_fragment = fragment.seq, fragment.end_us

    def put_connected(self, first: UnmuxedFragment) -> None:
        """Sends `connected` once, right before the first fragment is sent or shed; `lost` is certain to follow."""
        if self._connected is not None:
            return
        video_parameters = self._video_parameters
        self._connected = Connected(
            camera_id=self._camera.camera_id,
            at_us=first.start_us,
            instance=self._sinks.instance,
            epoch=self._epoch_id,
            reader=self._source_info.reader,
            transport=self._source_info.transport or self._camera.transport,
            codecs=video_parameters.codecs,
            width=video_parameters.width,
            height=video_parameters.height,
            server=self._source_info.server,
        )
        self._sinks.send_queue.put_event(self._camera.camera_id, self._connected)
        self.record_fragment(first)
        metrics.CONNECTED.labels(self._camera.camera_id).set(1)
        log.info(
            "epoch started",
            camera_id=self._camera.camera_id,
            epoch=self._epoch_id,
            codecs=video_parameters.codecs,
            width=video_parameters.width,
            height=video_parameters.height,
        )

    def republish_connected(self) -> None:
        """Sends `connected` again, marked as repeated, before the topic's retention removes the first one."""
        if self._connected is not None:
            repeated = replace(self._connected, repeated=True)
            self._sinks.send_queue.put_event(self._camera.camera_id, repeated)

    def put_shed(self, shed_range: ShedRange) -> None:
        """Sends `shed`."""
        event = Shed(
            camera_id=self._camera.camera_id,
            at_us=self._sinks.now_us(),
            instance=self._sinks.instance,
            epoch=self._epoch_id,
            first_seq=shed_range.first_seq,
            last_seq=shed_range.last_seq,
            start_us=shed_range.start_us,
            end_us=shed_range.end_us,
            access_units=shed_range.access_units,
            bytes=shed_range.bytes,
            cause=shed_range.cause,
        )
        self._sinks.send_queue.put_event(self._camera.camera_id, event)
        metrics.SHED.labels(shed_range.cause).inc(shed_range.access_units)
        log.warning(
            "access units shed",
            camera_id=event.camera_id,
            epoch=self._epoch_id,
            access_units=shed_range.access_units,
            cause=shed_range.cause,
        )

    def put_lost(self, cause: Cause, detail: str, *, next_retry_s: float, interrupted: bool) -> bool:
        """Sends `lost`, the epoch's last record. False if no fragment was sent or shed: no `lost` then."""
        if self._last_fragment is None:
            return False
        last_seq, end_us = self._last_fragment
        lost = Lost(
            camera_id=self._camera.camera_id,
            at_us=self._sinks.now_us(),
            instance=self._sinks.instance,
            epoch=self._epoch_id,
            last_seq=last_seq,
            end_us=end_us,
            cause=cause,
            detail=detail,
            next_retry_s=next_retry_s,
            interrupted=interrupted,
        )
        self._sinks.send_queue.put_event(self._camera.camera_id, lost)
        metrics.CONNECTED.labels(self._camera.camera_id).set(0)
        log.info("epoch ended", camera_id=self._camera.camera_id, epoch=self._epoch_id, cause=cause, detail=detail)
        return True
