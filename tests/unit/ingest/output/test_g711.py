# The stubs of av leave the type argument of Packet open.
# pyright: reportUnknownMemberType=false
"""G.711 to AAC: the same audio at the same time, encoded in a thread that nothing waits for."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext

from districam_devkit.simcam.tones import loop_samples, tone
from districam_ingest.output.g711 import AAC_PARAMETERS, MAX_PENDING_SAMPLES, Transcoder, TranscoderPool
from districam_ingest.units import AudioUnit

PACKET = 160
ORIGIN = 5_000


def g711_units(name: str, numbers: range) -> list[AudioUnit]:
    units = tone("pcm_mulaw" if name == "pcm_mulaw" else "pcm_alaw", 8_000).access_units
    return [AudioUnit(units[n % len(units)], ORIGIN + n * PACKET, n * 20_000, 9_000_000 + n * 20_000) for n in numbers]


def transcode(name: str, units: list[AudioUnit], *, batch: int = 50) -> list[AudioUnit]:
    out: list[AudioUnit] = []
    with TranscoderPool.open() as transcoders:
        transcoder = transcoders.create_transcoder(name)
        for n in range(0, len(units), batch):
            deadline_s = time.monotonic() + 10
            out += transcoder.feed(units[n : n + batch])
            while transcoder.is_busy:
                assert time.monotonic() < deadline_s
                time.sleep(0.001)
        return out + transcoder.feed([])


def decode_aac(units: list[AudioUnit]) -> np.ndarray:
    context = av.CodecContext.create("aac", "r")
    assert isinstance(context, AudioCodecContext)
    context.extradata = AAC_PARAMETERS.config
    return np.concatenate([frame.to_ndarray()[0] for unit in units for frame in context.decode(av.Packet(unit.data))])


@pytest.mark.parametrize("name", ["pcm_mulaw", "pcm_alaw"])
def test_transcoded_audio_has_the_same_content_and_timing(name: str):
    units = transcode(name, g711_units(name, range(300)))
    assert [unit.pts for unit in units] == [ORIGIN + n * 1024 for n in range(len(units))]
    assert len(units) > 40
    output, reference = decode_aac(units)[4000:30_000], loop_samples(8_000)
    shift_samples = max(range(-300, 300), key=lambda shift: float(output @ reference[4000 + shift :][: output.size]))
    assert abs(shift_samples) <= 2
    for unit in units:
        n = (unit.pts - ORIGIN) / PACKET
        assert unit.captured_us == pytest.approx(n * 20_000, abs=200)
        assert unit.camera_us == pytest.approx(9_000_000 + n * 20_000, abs=200)


def test_the_encoder_restarts_after_a_gap():
    units = transcode("pcm_alaw", [*g711_units("pcm_alaw", range(100)), *g711_units("pcm_alaw", range(150, 300))])
    starts = [unit.pts for unit in units]
    assert ORIGIN + 150 * PACKET in starts
    assert all(later - earlier >= 1024 for earlier, later in pairwise(starts))


def test_small_timestamp_errors_are_no_gap():
    jittered = [
        AudioUnit(s.data, s.pts + n % 3 * 20, s.captured_us) for n, s in enumerate(g711_units("pcm_alaw", range(200)))
    ]
    starts = [unit.pts for unit in transcode("pcm_alaw", jittered)]
    assert all(later - earlier == 1024 for earlier, later in pairwise(starts))


def test_audio_is_dropped_without_waiting_if_the_thread_is_busy():
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(stop.wait, 20)
        transcoder = Transcoder(pool, "pcm_alaw")
        start_s = time.monotonic()
        for n in range(0, 2000, 50):
            assert transcoder.feed(g711_units("pcm_alaw", range(n, n + 50))) == []
        assert time.monotonic() - start_s < 2
        assert transcoder.pending_samples <= MAX_PENDING_SAMPLES + PACKET
        stop.set()
