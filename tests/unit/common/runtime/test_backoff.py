"""Delays double up to the cap, with jitter in their upper half."""

from itertools import islice

import pytest

from districam_common.runtime.backoff import delays


def test_delays_double_up_to_the_cap() -> None:
    assert list(islice(delays(1, 10, random=lambda: 1.0), 6)) == [1, 2, 4, 8, 10, 10]


def test_jitter_reduces_a_delay_by_at_most_half() -> None:
    assert list(islice(delays(1, 10, random=lambda: 0.0), 6)) == pytest.approx([0.5, 1, 2, 4, 5, 5])
