import random
from fractions import Fraction
from functools import partial

import pytest

from districam_devkit.simcam.attacks import (
    MEDIA_ATTACKS,
    AttackStream,
    MediaAttack,
    attack_response,
    is_endless,
    with_long_banner,
)
from districam_devkit.simcam.clips import AccessUnit, Clip
from districam_devkit.simcam.faults import (
    INSTANT_FAULTS,
    KINDS,
    RATE_FAULTS,
    RateFault,
    parse_fault,
    random_bytes,
    random_payload,
)
from districam_devkit.simcam.media_clock import MediaClock
from districam_devkit.simcam.network_impairment import NetworkImpairment
from districam_devkit.simcam.protocol import response
from districam_devkit.simcam.wall_clock import WallClock

TICK = 3600


def clip(count: int, *, reorder: int = 0) -> Clip:
    """A clip in which each pair of pictures is reordered, or none."""
    shown = [n ^ reorder for n in range(count)]
    units = tuple(AccessUnit((b"\x65",), n == 0, place * TICK, (n - reorder) * TICK) for n, place in enumerate(shown))
    return Clip("h264", (), units, Fraction(25), 64, 64, count * TICK)


def test_every_kind_of_fault_is_parsed():
    for kind in KINDS:
        length = "" if kind in INSTANT_FAULTS else "+2.5"
        rate = "%1.5" if kind in RATE_FAULTS else ""
        fault = parse_fault(f"{kind}:cam-001@3{length}{rate}")
        assert (fault.kind, fault.at_s, fault.for_s) == (kind, 3, 0 if kind in INSTANT_FAULTS else 2.5)
        assert fault.percent == (1.5 if rate else 0)


@pytest.mark.parametrize(
    "text",
    [
        *("change:cam-001@1+2", "401:cam-001@1", "402:cam-001@1+2", "freeze:cam-001@1"),
        *("lose:cam-001@1+2", "lose:cam-001@1%2", "lose:cam-001@1+2%101", "freeze:cam-001@1+2%3"),
    ],
)
def test_an_unknown_fault_is_rejected_with_the_known_ones(text: str):
    with pytest.raises(ValueError, match=r"Use KIND|duration|rate"):
        parse_fault(text)


def test_noise_has_the_length_of_the_data_and_its_high_bits_set():
    dice = random.Random(1)
    for size in (1, 2, 3, 1400):
        data = bytes(size)
        assert len(random_payload(data, dice)) == size
        assert random_payload(data, dice)[0] & 0x80
        assert len(random_bytes(data, dice)) == size
        assert min(random_bytes(data, dice)) >= 0x80


def test_timestamps_are_continuous_over_loops_of_a_clip():
    clock = MediaClock(clip(10), 7)
    assert [clock.unit_index(n) for n in range(5)] == [7, 8, 9, 0, 1]
    assert [clock.ticks(n) for n in range(40)] == [(n + 7) * TICK for n in range(40)]
    assert clock.ticks_at(1.0) == clock.ticks(25)


def test_a_picture_is_captured_before_it_is_sent():
    clock = MediaClock(clip(10, reorder=1), 0)
    assert [clock.ticks(n) // TICK for n in range(4)] == [1, 0, 3, 2]
    assert clock.ticks_at(0.0) == TICK


def test_a_pause_without_a_timestamp_gap():
    clock = MediaClock(clip(10), 0)
    for n in range(5, 12):
        clock.pause(n)
    clock.resume(12)
    clock.resume(13)
    assert [clock.ticks(n) // TICK for n in (12, 13)] == [5, 6]
    assert clock.ticks_at(0.48) == 5 * TICK


def test_timestamps_jump_and_freeze():
    clock = MediaClock(clip(10), 0)
    clock.jump(-2)
    assert clock.ticks(60) == 10 * TICK
    clock.freeze_timestamps(60)
    clock.freeze_timestamps(61)
    assert [clock.ticks(n) for n in (61, 75)] == [10 * TICK] * 2
    clock.resume_timestamps()
    assert clock.ticks(75) == 25 * TICK


def test_a_replaced_clip_starts_at_its_beginning_with_continuous_timestamps():
    clock = MediaClock(clip(10), 3)
    clock.jump(1)
    clock.switch_clip(clip(4), 15)
    assert [clock.unit_index(n) for n in range(15, 20)] == [0, 1, 2, 3, 0]
    assert [clock.ticks(n) // TICK for n in range(15, 20)] == [43, 44, 45, 46, 47]
    assert clock.ticks_at(0.6) == 43 * TICK


def test_loss_and_reordering_are_deterministic_at_their_rate():
    packets = [bytes([n]) for n in range(100)]

    def befallen(kind: RateFault, percent: float, *, in_order: bool = False) -> tuple[list[bytes], NetworkImpairment]:
        mishaps = NetworkImpairment("cam")
        mishaps.set_rate(kind, percent, 10)
        return mishaps.apply(packets, 9, connection=1, number=7, in_order=in_order), mishaps

    left, mishaps = befallen("lose", 10)
    assert 80 < len(left) < 98
    assert mishaps.lost_packets == [(1, 7)] * (100 - len(left))
    assert befallen("lose", 10)[0] == left
    assert befallen("lose", 100)[0] == []
    assert mishaps.apply(packets, 10, connection=1, number=8, in_order=False) == packets
    mixed, _ = befallen("reorder", 20)
    assert mixed != packets
    assert sorted(mixed) == packets
    assert max(abs(place - packet[0]) for place, packet in enumerate(mixed)) < 10
    assert befallen("reorder", 20, in_order=True)[0] == packets


def test_a_wall_clock_steps_and_drifts_permanently():
    clock = WallClock(1_000)
    assert clock.read_us(2) == 2_001_000
    clock.step(-5)
    assert clock.read_us(2) == -2_999_000
    clock.step(5)
    clock.drift(0.01, 10, 20)
    assert [clock.read_us(at_s) - 1_000 for at_s in (10, 15, 20, 30)] == [
        10_000_000,
        15_050_000,
        20_100_000,
        30_100_000,
    ]
    clock.drift(0.1, 30, 31)
    assert clock.read_us(31) - 1_000 == 31_200_000


ASSAULTED = (b"\x67\x42\xc0\x1e", b"\x68\xce\x0f\xc8"), (b"\x65\x88\x84",)


@pytest.mark.parametrize("kind", MEDIA_ATTACKS)
def test_attack_media_are_interleaved_packets_with_consecutive_sequence_numbers(kind: MediaAttack):
    assault = AttackStream(4, 5, *ASSAULTED)
    data = b"".join(assault.next_interval(kind, n * 0.1, 0.1) for n in range(12))
    at, seqs = 0, list[int]()
    while at < len(data):
        assert data[at] == 0x24
        assert data[at + 1] in {4, 5}
        if data[at + 1] == 4:
            seqs.append(int.from_bytes(data[at + 6 : at + 8], "big"))
        at += 4 + int.from_bytes(data[at + 2 : at + 4], "big")
    assert at == len(data)
    assert seqs == [n & 0xFFFF for n in range(len(seqs))]
    assert len(seqs) >= 12


def test_a_hostile_response_replaces_the_honest_one():
    ask = partial(attack_response, cseq="7", authorization="")
    assert ask("banner", "DESCRIBE") is None
    assert ask("headers", "OPTIONS") is None
    assert len(ask("headers", "DESCRIBE") or b"") > 60_000
    for kind in ("endless", "length"):
        assert ask(kind, "DESCRIBE")
        assert is_endless(kind, "DESCRIBE")
        assert not is_endless(kind, "PLAY")
    assert b"Location: rtsp://localhost:1/" in (ask("astray", "DESCRIBE") or b"")
    assert b"Digest" in (ask("downgrade", "DESCRIBE") or b"")
    assert b"Basic" in (attack_response("downgrade", "SETUP", "7", authorization="Digest x") or b"")
    assert attack_response("downgrade", "DESCRIBE", "7", authorization="Digest x") is None
    assert len(with_long_banner(response(200, "7"))) > 3_900
