from base64 import b64decode

from hypothesis import given
from hypothesis import strategies as st

from districam_api.core.bitmaps import DAY_SLOTS, align_to_slots, encode_window
from districam_api.core.times import Window
from districam_common.contract.names import DAY_US, SLOT_US, slots

DAY0_US = 20_000 * DAY_US


def bitmaps(set_slots: set[int], days: int) -> list[bytes]:
    """As Redis stores them: without trailing zero bytes."""
    out = [bytearray() for _ in range(days)]
    for slot in sorted(set_slots):
        day, bit = divmod(slot, DAY_SLOTS)
        out[day].extend(b"\0" * (bit // 8 + 1 - len(out[day])))
        out[day][bit // 8] |= 0x80 >> bit % 8
    return [bytes(day) for day in out]


@given(
    st.sets(st.integers(0, 2 * DAY_SLOTS - 1), max_size=50),
    st.integers(0, 2 * DAY_SLOTS - 1),
    st.integers(1, 2 * DAY_SLOTS),
)
def test_a_window_encodes_its_bits_in_order(set_slots: set[int], first: int, length: int):
    length = min(length, 2 * DAY_SLOTS - first)
    window = Window(DAY0_US + first * SLOT_US, DAY0_US + (first + length) * SLOT_US)
    from_day, to_day = first // DAY_SLOTS, (first + length - 1) // DAY_SLOTS
    text, count = encode_window(bitmaps(set_slots, 2)[from_day : to_day + 1], window)
    bits = b64decode(text)
    assert len(bits) == -(-length // 8)
    found = {first + n for n in range(len(bits) * 8) if bits[n // 8] & 0x80 >> n % 8}
    assert found == {slot for slot in set_slots if first <= slot < first + length}
    assert count == len(found)


def test_a_window_is_widened_to_whole_slots():
    assert align_to_slots(Window(DAY0_US + 1, DAY0_US + SLOT_US + 1)) == Window(DAY0_US, DAY0_US + 2 * SLOT_US)
    assert align_to_slots(Window(DAY0_US, DAY0_US + SLOT_US)) == Window(DAY0_US, DAY0_US + SLOT_US)


def test_slots_match_those_that_the_index_sets():
    ((day_us, bits),) = slots(DAY0_US + 25 * SLOT_US, DAY0_US + 27 * SLOT_US)
    text, count = encode_window(bitmaps(set(bits), 1), Window(day_us + 24 * SLOT_US, day_us + 32 * SLOT_US))
    assert (b64decode(text), count) == (bytes([0b0110_0000]), 2)
