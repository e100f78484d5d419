"""Distances on the earth for the camera search."""

import math
from dataclasses import dataclass

from districam_api.core.invalid_parameter import InvalidParameter
from districam_common.contract.events import Location

RADIUS_M = 6_371_008.8
"""The earth's mean radius (IUGG)."""
MAX_RADIUS_M = 20_100_000.0


@dataclass(frozen=True, slots=True)
class Circle:
    """The points within `metres` of a centre; degrees, WGS 84."""

    latitude: float
    longitude: float
    metres: float

    def distance_m(self, at: Location) -> float:
        """Distance from the centre by the haversine formula, to the millimetre."""
        north, south = math.radians(at.latitude), math.radians(self.latitude)
        east = math.radians(at.longitude - self.longitude)
        h = math.sin((north - south) / 2) ** 2 + math.cos(north) * math.cos(south) * math.sin(east / 2) ** 2
        return round(2 * RADIUS_M * math.asin(min(1.0, math.sqrt(h))), 3)


def parse_circle(text: str, field: str = "near") -> Circle:
    """Parses `latitude,longitude,metres`.

    Raises:
        InvalidParameter: malformed, or out of range.
    """
    try:
        latitude, longitude, metres = map(float, text.split(","))
    except ValueError as error:
        message = "must be latitude,longitude,metres, such as 10.7731,106.7030,500"
        raise InvalidParameter(field, message) from error
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180 and 0 <= metres <= MAX_RADIUS_M):
        raise InvalidParameter(
            field, "must have a latitude of -90 to 90, a longitude of -180 to 180, and 0 to 20100000 metres"
        )
    return Circle(latitude, longitude, metres)
