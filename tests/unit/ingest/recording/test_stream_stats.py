"""The metrics of an epoch's pictures."""

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast
from unittest.mock import Mock

import pytest
from prometheus_client import REGISTRY

from districam_common.contract.events import Camera
from districam_ingest.codec.video_parameters import VideoParameters
from districam_ingest.readers.reader import SourceInfo
from districam_ingest.recording.rate_limits import CameraRateLimits
from districam_ingest.recording.stream_stats import EXPORT_INTERVAL_US, StreamStats
from districam_ingest.units import AccessUnit

if TYPE_CHECKING:
    from districam_ingest.output.sinks import Sinks

S = 1_000_000
INFO = SourceInfo(codec="h264", parameter_sets=(), reader="test")
VIDEO_PARAMETERS = VideoParameters(codec="h264", codecs="avc1.42c01e", width=640, height=360, fps=25.0, reorder_depth=0)


def unit(number: int) -> AccessUnit:
    return AccessUnit(
        (bytes(100),),
        number * 40_000 + S,
        number * 3600,
        number * 3600,
        is_keyframe=number == 0,
        lost_packets=number == 3,
    )


def metric_value(name: str, camera_id: str) -> float | None:
    return REGISTRY.get_sample_value(f"districam_ingest_{name}", {"camera": camera_id})


def test_every_picture_is_counted_once_including_the_last_ones():
    camera = Camera(camera_id="observed", name="x", url="rtsp://127.0.0.1/x")
    stats = StreamStats(camera, VIDEO_PARAMETERS, cast("Sinks", None), INFO, CameraRateLimits())
    assert metric_value("last_access_unit_timestamp_seconds", "observed") is None
    exported_count = (EXPORT_INTERVAL_US - S) // 40_000 + 1
    count = exported_count + 3
    for number in range(count):
        stats.record(unit(number))
    assert metric_value("access_units_total", "observed") == exported_count
    stats.export()
    stats.export()
    assert metric_value("access_units_total", "observed") == count
    assert metric_value("bytes_total", "observed") == 100 * count
    assert metric_value("packets_lost_total", "observed") == 1
    assert metric_value("last_access_unit_timestamp_seconds", "observed") == 1 + (count - 1) * 0.04


def test_the_metric_has_the_last_gop_and_the_profile_the_longest():
    camera = Camera(camera_id="keyed", name="x", url="rtsp://127.0.0.1/x")
    send_queue = Mock()
    sinks = cast("Sinks", SimpleNamespace(send_queue=send_queue, instance="test"))
    stats = StreamStats(camera, VIDEO_PARAMETERS, sinks, INFO, CameraRateLimits())
    for number in range(12):  # one per second; GOPs of 5 s and 2 s
        stats.record(replace(unit(0), start_us=S + number * S, is_keyframe=number in {0, 5, 7}))
    assert metric_value("gop_seconds", "keyed") == 2
    [(_, profile)] = [call.args for call in send_queue.put_event.call_args_list]
    assert profile.gop_s == 5


def test_the_nominal_rate_is_the_declared_one_and_absent_if_undeclared():
    camera = Camera(camera_id="rated", name="x", url="rtsp://127.0.0.1/x")
    sinks = cast("Sinks", SimpleNamespace(send_queue=Mock(), instance="test"))
    for video_parameters, nominal in ((VIDEO_PARAMETERS, 25.0), (replace(VIDEO_PARAMETERS, fps=None), None)):
        stats = StreamStats(camera, video_parameters, sinks, INFO, CameraRateLimits())
        for number in range(10 * 12 + 1):  # 12 of the 25 pictures per second that it declares
            stats.record(replace(unit(0), start_us=S + number * S // 12))
        assert metric_value("fps", "rated") == pytest.approx(12, abs=0.1)
        assert metric_value("nominal_fps", "rated") == nominal
