import uuid

from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.recording.epoch_id import epoch_id

instants = st.integers(0, (1 << 48) * 1000 - 1)
random = st.binary(min_size=10, max_size=10)


@given(instants, random)
def test_an_epoch_id_is_a_uuid_of_version_7_that_encodes_its_time(now_us: int, dice: bytes):
    made = uuid.UUID(epoch_id(now_us, dice))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now_us // 1000
    assert str(made) == epoch_id(now_us, dice)


@given(instants, instants, random, random)
def test_epoch_ids_sort_by_millisecond(a_us: int, b_us: int, dice_a: bytes, dice_b: bytes):
    if a_us // 1000 < b_us // 1000:
        assert epoch_id(a_us, dice_a) < epoch_id(b_us, dice_b)


@given(instants, random, st.integers(0, 79))
def test_all_random_bits_but_the_six_of_version_and_variant_are_used(now_us: int, dice: bytes, bit: int):
    other = (int.from_bytes(dice, "big") ^ 1 << bit).to_bytes(10, "big")
    is_fixed = bit in {62, 63, 76, 77, 78, 79}
    assert (epoch_id(now_us, dice) == epoch_id(now_us, other)) is is_fixed
