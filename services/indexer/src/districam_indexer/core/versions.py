"""Groups a day's listing of object versions by key: current objects, and keys that were overwritten or deleted."""

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
    """The keys of a day; fed a page at a time."""

    _keys: dict[str, _KeyVersions] = field(default_factory=dict[str, _KeyVersions])

    def feed(self, page: Iterable[ObjectVersion]) -> None:
        """Adds a page. A key's current version is the one marked as latest, or else the first one listed."""
        for one in page:
            known = self._keys.setdefault(one.key, _KeyVersions(one))
            if one.is_latest:
                known.current = one
            known.versions += not one.is_delete_marker
            known.markers += one.is_delete_marker

    def objects(self) -> list[tuple[str, int]]:
        """(key, size) of the current objects, sorted by key."""
        found = [(key, one.current.size) for key, one in self._keys.items() if not one.current.is_delete_marker]
        return sorted(found)

    def anomalies(self) -> list[tuple[str, int, int]]:
        """(key, versions, delete markers) of keys that have not just one version: objects are written once."""
        found = [(key, one.versions, one.markers) for key, one in self._keys.items()]
        return sorted(one for one in found if one[1:] != (1, 0))
