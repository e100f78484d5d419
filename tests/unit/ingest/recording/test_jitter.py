import itertools
import random

import pytest

from districam_ingest.recording.jitter import JitterEstimator

TICK = 3600


def of(delays_us: list[int]) -> int:
    jitter = JitterEstimator()
    for n, delay_us in enumerate(delays_us):
        jitter.feed(n * 40_000 + delay_us, n * TICK)
    return jitter.jitter_us


def test_a_steady_way_has_none_however_long_it_is():
    assert of([0] * 100) == 0
    assert of([700_000] * 100) == 0
    assert of([]) == of([5]) == 0


def test_it_is_the_mean_difference_of_neighbours():
    assert of([0, 10_000] * 200) == pytest.approx(10_000, rel=0.01)
    dice = random.Random(1)
    delays = [dice.randrange(20_000) for _ in range(2000)]
    mean = sum(abs(b - a) for a, b in itertools.pairwise(delays)) / (len(delays) - 1)
    assert of(delays) == pytest.approx(mean, rel=0.5)


def test_each_difference_counts_a_sixteenth():
    assert of([0, 16_000]) == 1000
