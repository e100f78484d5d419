"""A day's listing of versions, taken apart: what is found by key, and which keys have more than one version or were deleted."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from districam_common.s3.s3_listing import ObjectVersion


@dataclass(slots=True)
class _KeyVersions:
    current: ObjectVersion
    versions: int = 0
    markers: int = 0


@dataclass(slots=True)
class DayListing:
    """Fed a page at a time; holds the keys of a day."""

    _keys: dict[str, _KeyVersions] = field(default_factory=dict[str, _KeyVersions])

    def feed(self, page: Iterable[ObjectVersion]) -> None:
        """The newest version of a key is the one that the store calls so, else the first that it lists."""
        for one in page:
            known = self._keys.setdefault(one.key, _KeyVersions(one))
            if one.is_latest:
                known.current = one
            known.versions += not one.is_delete_marker
            known.markers += one.is_delete_marker

    def objects(self) -> list[tuple[str, int]]:
        """Key and size of what is found by its key, in the order of keys."""
        found = [(key, one.current.size) for key, one in self._keys.items() if not one.current.is_delete_marker]
        return sorted(found)

    def anomalies(self) -> list[tuple[str, int, int]]:
        """(key, versions, markers) of those that are not one version and nothing else: an object is written once."""
        found = [(key, one.versions, one.markers) for key, one in self._keys.items()]
        return sorted(one for one in found if one[1:] != (1, 0))
