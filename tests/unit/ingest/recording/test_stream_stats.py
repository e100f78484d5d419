"""What an epoch's pictures do to the metrics."""

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
SHAPE = VideoParameters(codec="h264", codecs="avc1.42c01e", width=640, height=360, fps=25.0, reorder_depth=0)


def unit(number: int) -> AccessUnit:
    return AccessUnit(
        (bytes(100),),
        number * 40_000 + S,
        number * 3600,
        number * 3600,
        is_keyframe=number == 0,
        lost_packets=number == 3,
    )


def shown(name: str, camera_id: str) -> float | None:
    return REGISTRY.get_sample_value(f"districam_ingest_{name}", {"camera": camera_id})


def test_every_picture_is_counted_once_including_the_last_ones():
    camera = Camera(camera_id="observed", name="x", url="rtsp://127.0.0.1/x")
    observer = StreamStats(camera, SHAPE, cast("Sinks", None), INFO, CameraRateLimits())
    assert shown("last_access_unit_timestamp_seconds", "observed") is None
    at_once = (EXPORT_INTERVAL_US - S) // 40_000 + 1
    seen = at_once + 3
    for number in range(seen):
        observer.record(unit(number))
    assert shown("access_units_total", "observed") == at_once
    observer.export()
    observer.export()
    assert shown("access_units_total", "observed") == seen
    assert shown("bytes_total", "observed") == 100 * seen
    assert shown("packets_lost_total", "observed") == 1
    assert shown("last_access_unit_timestamp_seconds", "observed") == 1 + (seen - 1) * 0.04


def test_the_metric_has_the_last_gop_and_the_profile_the_longest():
    camera = Camera(camera_id="keyed", name="x", url="rtsp://127.0.0.1/x")
    outbox = Mock()
    outlets = cast("Sinks", SimpleNamespace(send_queue=outbox, instance="test"))
    observer = StreamStats(camera, SHAPE, outlets, INFO, CameraRateLimits())
    for number in range(12):  # one a second: keyframes after 5 s, and then after 2 s
        observer.record(replace(unit(0), start_us=S + number * S, is_keyframe=number in {0, 5, 7}))
    assert shown("gop_seconds", "keyed") == 2
    [(_, profile)] = [call.args for call in outbox.put_event.call_args_list]
    assert profile.gop_s == 5


def test_the_nominal_rate_is_the_declared_one_and_absent_if_undeclared():
    camera = Camera(camera_id="rated", name="x", url="rtsp://127.0.0.1/x")
    outlets = cast("Sinks", SimpleNamespace(send_queue=Mock(), instance="test"))
    for shape, nominal in ((SHAPE, 25.0), (replace(SHAPE, fps=None), None)):
        observer = StreamStats(camera, shape, outlets, INFO, CameraRateLimits())
        for number in range(10 * 12 + 1):  # 12 pictures a second of the 25 that it promises
            observer.record(replace(unit(0), start_us=S + number * S // 12))
        assert shown("fps", "rated") == pytest.approx(12, abs=0.1)
        assert shown("nominal_fps", "rated") == nominal
