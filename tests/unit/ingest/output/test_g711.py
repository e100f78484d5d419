# The stubs of av leave the type argument of Packet open.
# pyright: reportUnknownMemberType=false
"""G.711 into AAC: the same sound at the same time, in a thread that nobody waits for."""

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


def packets(name: str, numbers: range) -> list[AudioUnit]:
    units = tone("pcm_mulaw" if name == "pcm_mulaw" else "pcm_alaw", 8_000).access_units
    return [AudioUnit(units[n % len(units)], ORIGIN + n * PACKET, n * 20_000, 9_000_000 + n * 20_000) for n in numbers]


def transcoded(name: str, sounds: list[AudioUnit], *, at_once: int = 50) -> list[AudioUnit]:
    out: list[AudioUnit] = []
    with TranscoderPool.open() as transcoders:
        one = transcoders.create_transcoder(name)
        for n in range(0, len(sounds), at_once):
            deadline_s = time.monotonic() + 10
            out += one.feed(sounds[n : n + at_once])
            while one.is_busy:
                assert time.monotonic() < deadline_s
                time.sleep(0.001)
        return out + one.feed([])


def decoded(units: list[AudioUnit]) -> np.ndarray:
    context = av.CodecContext.create("aac", "r")
    assert isinstance(context, AudioCodecContext)
    context.extradata = AAC_PARAMETERS.config
    return np.concatenate([frame.to_ndarray()[0] for unit in units for frame in context.decode(av.Packet(unit.data))])


@pytest.mark.parametrize("name", ["pcm_mulaw", "pcm_alaw"])
def test_transcoded_audio_has_the_same_content_and_timing(name: str):
    units = transcoded(name, packets(name, range(300)))
    assert [unit.pts for unit in units] == [ORIGIN + n * 1024 for n in range(len(units))]
    assert len(units) > 40
    ours, theirs = decoded(units)[4000:30_000], loop_samples(8_000)
    best = max(range(-300, 300), key=lambda shift: float(ours @ theirs[4000 + shift :][: ours.size]))
    assert abs(best) <= 2
    for unit in units:
        n = (unit.pts - ORIGIN) / PACKET
        assert unit.captured_us == pytest.approx(n * 20_000, abs=200)
        assert unit.camera_us == pytest.approx(9_000_000 + n * 20_000, abs=200)


def test_the_encoder_restarts_after_a_gap():
    units = transcoded("pcm_alaw", [*packets("pcm_alaw", range(100)), *packets("pcm_alaw", range(150, 300))])
    starts = [unit.pts for unit in units]
    assert ORIGIN + 150 * PACKET in starts
    assert all(later - earlier >= 1024 for earlier, later in pairwise(starts))


def test_small_timestamp_errors_are_no_gap():
    shaken = [
        AudioUnit(s.data, s.pts + n % 3 * 20, s.captured_us) for n, s in enumerate(packets("pcm_alaw", range(200)))
    ]
    starts = [unit.pts for unit in transcoded("pcm_alaw", shaken)]
    assert all(later - earlier == 1024 for earlier, later in pairwise(starts))


def test_audio_is_dropped_without_waiting_if_the_thread_is_busy():
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(stop.wait, 20)
        one = Transcoder(pool, "pcm_alaw")
        began_s = time.monotonic()
        for n in range(0, 2000, 50):
            assert one.feed(packets("pcm_alaw", range(n, n + 50))) == []
        assert time.monotonic() - began_s < 2
        assert one.pending_samples <= MAX_PENDING_SAMPLES + PACKET
        stop.set()
