import pytest

from districam_api.core.conditions import honours_range, is_unchanged

TAG = '"5891b5b522d5df086d0ff0b110fbd9d2"'


@pytest.mark.parametrize("header", [TAG, f"W/{TAG}", f'"x", {TAG}', f' {TAG} , "y"', "*"])
def test_what_the_asker_has_is_not_sent_again(header: str):
    assert is_unchanged(header, TAG)


@pytest.mark.parametrize("header", [None, "", '"x"', TAG[1:-1], '"5891b5b5"'])
def test_what_the_asker_does_not_have_is_sent(header: str | None):
    assert not is_unchanged(header, TAG)
    assert not is_unchanged("*", None)


@pytest.mark.correctness
@pytest.mark.parametrize(
    ("header", "does"),
    [
        (None, True),
        (TAG, True),
        (f" {TAG} ", True),
        (f"W/{TAG}", False),
        ('"other"', False),
        ("Tue, 24 Nov 2026 12:00:00 GMT", False),
        ("", False),
    ],
)
def test_a_range_of_another_object_is_not_answered_with_a_part_of_this_one(
    header: str | None,
    does: bool,  # noqa: FBT001  # a parameter of the test
):
    assert honours_range(header, TAG) is does
    assert honours_range(header, None) is (header is None)
