import pytest

from districam_api.core.conditions import honours_range, is_unchanged

TAG = '"5891b5b522d5df086d0ff0b110fbd9d2"'


@pytest.mark.parametrize("header", [TAG, f"W/{TAG}", f'"x", {TAG}', f' {TAG} , "y"', "*"])
def test_a_matching_if_none_match_is_unchanged(header: str):
    assert is_unchanged(header, TAG)


@pytest.mark.parametrize("header", [None, "", '"x"', TAG[1:-1], '"5891b5b5"'])
def test_another_if_none_match_is_changed(header: str | None):
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
def test_a_range_is_honoured_only_if_if_range_names_this_object(
    header: str | None,
    does: bool,  # noqa: FBT001  # a parameter of the test
):
    assert honours_range(header, TAG) is does
    assert honours_range(header, None) is (header is None)
