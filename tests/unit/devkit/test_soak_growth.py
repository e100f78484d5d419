"""The soak test distinguishes a leak from buffering during outages."""

from random import Random

from fault.soak import SAMPLE_S, growth_pct


def samples(grown: float, seed: int) -> list[tuple[float, float]]:
    """Twenty minutes of 70 MiB growing by that share, with an outage of 12 s and up to 15 MiB every half a minute."""
    dice = Random(seed)
    out: list[tuple[float, float]] = []
    until_s, peak_mib, next_s = 0.0, 0.0, 0.0
    for n in range(20 * 60 // SAMPLE_S):
        at_s = float(n * SAMPLE_S)
        if at_s >= next_s:
            until_s, peak_mib, next_s = at_s + 12, dice.uniform(0, 15), at_s + dice.uniform(25, 60)
        held_mib = peak_mib if at_s < until_s else 0.0
        out.append((600 + at_s, 70 * (1 + grown * at_s / 1200) + held_mib + dice.uniform(0, 0.3)))
    return out


def test_outages_alone_are_not_growth():
    assert all(abs(growth_pct(samples(0.0, seed))) < 0.5 for seed in range(20))


def test_a_leak_of_three_percent_shows_through_outages():
    assert all(2.4 < growth_pct(samples(0.03, seed)) < 3.6 for seed in range(20))
