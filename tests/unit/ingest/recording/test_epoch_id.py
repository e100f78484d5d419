import uuid

from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.recording.epoch_id import epoch_id

instants = st.integers(0, (1 << 48) * 1000 - 1)
random = st.binary(min_size=10, max_size=10)


@given(instants, random)
def test_an_epoch_id_is_a_uuid_of_version_7_that_encodes_its_time(now_us: int, random_bytes: bytes):
    parsed = uuid.UUID(epoch_id(now_us, random_bytes))
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == now_us // 1000
    assert str(parsed) == epoch_id(now_us, random_bytes)


@given(instants, instants, random, random)
def test_epoch_ids_sort_by_millisecond(a_us: int, b_us: int, random_a: bytes, random_b: bytes):
    if a_us // 1000 < b_us // 1000:
        assert epoch_id(a_us, random_a) < epoch_id(b_us, random_b)


@given(instants, random, st.integers(0, 79))
def test_all_random_bits_but_the_six_of_version_and_variant_are_used(now_us: int, random_bytes: bytes, bit: int):
    other = (int.from_bytes(random_bytes, "big") ^ 1 << bit).to_bytes(10, "big")
    is_fixed = bit in {62, 63, 76, 77, 78, 79}
    assert (epoch_id(now_us, random_bytes) == epoch_id(now_us, other)) is is_fixed
