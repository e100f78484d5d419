"""Camera search by words (case and diacritics ignored), group and place; and the order of lists."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from districam_api.core import cursors
from districam_api.core.geo import Circle
from districam_common.contract.events import Camera


@dataclass(frozen=True, slots=True)
class CameraFilter:
    """Which cameras to list."""

    words: str = ""
    group: str | None = None
    near: Circle | None = None


@dataclass(frozen=True, slots=True)
class CameraMatch:
    """A matching camera. `distance_m` if the filter has a circle."""

    camera: Camera
    distance_m: float | None = None

    @property
    def sort_key(self) -> tuple[int | str, ...]:
        """Position in lists: by distance if there is one, then by id."""
        camera_id = self.camera.camera_id
        return (camera_id,) if self.distance_m is None else (round(self.distance_m * 1000), camera_id)


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the matches, and the cursor of the next page."""

    found: Sequence[CameraMatch]
    next_cursor: str | None


def page(cameras: Iterable[Camera], camera_filter: CameraFilter, limit: int, cursor: str | None) -> Page:
    """The first `limit` matches after `cursor`.

    Raises:
        InvalidParameter: a cursor of another list.
    """
    after = cursors.decode(cursor, (str,) if camera_filter.near is None else (int, str)) if cursor else ()
    found = sorted(_found(cameras, camera_filter), key=lambda one: one.sort_key)
    rest = [one for one in found if one.sort_key > after]
    kept = rest[:limit]
    return Page(kept, cursors.encode(kept[-1].sort_key) if len(rest) > len(kept) else None)


def _found(cameras: Iterable[Camera], camera_filter: CameraFilter) -> Iterable[CameraMatch]:
    for camera in cameras:
        if not matches(camera, camera_filter.words, camera_filter.group):
            continue
        if camera_filter.near is None:
            yield CameraMatch(camera)
        elif camera.location:
            distance_m = camera_filter.near.distance_m(camera.location)
            if distance_m <= camera_filter.near.metres:
                yield CameraMatch(camera, distance_m)


def normalize_text(text: str) -> str:
    """Lower case without diacritics; đ, which Unicode does not decompose, becomes d."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return plain.replace("đ", "d")


def matches(camera: Camera, words: str, group: str | None) -> bool:
    """Whether every word occurs in the camera's id, name, place or groups, and it belongs to `group`."""
    if group is not None and normalize_text(group) not in map(normalize_text, camera.groups):
        return False
    needed = normalize_text(words).split()
    if not needed:
        return True
    text = normalize_text(" ".join(_searched(camera)))
    return all(word in text for word in needed)


def _searched(camera: Camera) -> Iterable[str]:
    yield camera.camera_id
    yield camera.name
    yield from camera.groups
    if camera.location and camera.location.place:
        yield camera.location.place
