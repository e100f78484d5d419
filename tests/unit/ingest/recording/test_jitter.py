import itertools
import random

import pytest

from districam_ingest.recording.jitter import JitterEstimator

TICK = 3600


def jitter_of(delays_us: list[int]) -> int:
    jitter = JitterEstimator()
    for n, delay_us in enumerate(delays_us):
        jitter.feed(n * 40_000 + delay_us, n * TICK)
    return jitter.jitter_us


def test_a_constant_delay_has_no_jitter():
    assert jitter_of([0] * 100) == 0
    assert jitter_of([700_000] * 100) == 0
    assert jitter_of([]) == jitter_of([5]) == 0


def test_jitter_converges_to_the_mean_difference_of_consecutive_delays():
    assert jitter_of([0, 10_000] * 200) == pytest.approx(10_000, rel=0.01)
    rng = random.Random(1)
    delays = [rng.randrange(20_000) for _ in range(2000)]
    mean = sum(abs(b - a) for a, b in itertools.pairwise(delays)) / (len(delays) - 1)
    assert jitter_of(delays) == pytest.approx(mean, rel=0.5)


def test_each_difference_has_a_weight_of_one_sixteenth():
    assert jitter_of([0, 16_000]) == 1000
