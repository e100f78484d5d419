import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_api.core.geo import MAX_RADIUS_M, RADIUS_M, Circle, parse_circle
from districam_api.core.invalid_parameter import InvalidParameter
from districam_common.contract.events import Location

LATITUDES, LONGITUDES = st.floats(-90, 90), st.floats(-180, 180)


@pytest.mark.parametrize(
    ("a", "b", "metres"),
    [
        ((10.7731, 106.7030), (10.7731, 106.7030), 0),
        ((0, 0), (0, 1), 2 * math.pi * RADIUS_M / 360),
        ((0, 179.5), (0, -179.5), 2 * math.pi * RADIUS_M / 360),
        ((0, 0), (0, 180), math.pi * RADIUS_M),
        ((90, 12), (-90, 77), math.pi * RADIUS_M),
        ((10.7769, 106.7009), (21.0285, 105.8542), 1_143_500),  # measured on a map, to 0.5 %
    ],
)
def test_known_distances(a: tuple[float, float], b: tuple[float, float], metres: float):
    found = Circle(*a, 0).distance_m(Location(latitude=b[0], longitude=b[1]))
    assert found == pytest.approx(metres, rel=5e-3, abs=1e-3)


@given(LATITUDES, LONGITUDES, LATITUDES, LONGITUDES)
def test_distance_is_symmetric_and_at_most_half_the_circumference(a: float, b: float, c: float, d: float):
    there = Circle(a, b, 0).distance_m(Location(latitude=c, longitude=d))
    assert there == pytest.approx(Circle(c, d, 0).distance_m(Location(latitude=a, longitude=b)), abs=1)
    assert 0 <= there <= MAX_RADIUS_M


def test_a_circle_is_parsed_from_three_numbers():
    assert parse_circle("10.7731, 106.7030,500") == Circle(10.7731, 106.703, 500)


@pytest.mark.parametrize(
    "text", ["", "10,106", "10,106,1,1", "a,b,c", "91,0,1", "0,181,1", "0,0,-1", "nan,0,1", "0,0,inf", "0,0,nan"]
)
def test_an_invalid_circle_is_refused_with_advice(text: str):
    with pytest.raises(InvalidParameter) as refused:
        parse_circle(text)
    assert refused.value.errors[0].field == "near"
    assert "latitude" in refused.value.errors[0].message
