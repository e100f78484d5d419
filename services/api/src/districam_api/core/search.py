"""Finding cameras by words, whatever their case and diacritics."""

import unicodedata
from collections.abc import Iterable

from districam_common.events import Camera


def folded(text: str) -> str:
    """Lower case without diacritics; đ, which Unicode does not decompose, is d."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return plain.replace("đ", "d")


def matches(camera: Camera, words: str, group: str | None) -> bool:
    """Whether every word is somewhere in the camera's id, name, place or groups, and it belongs to `group`."""
    if group is not None and folded(group) not in map(folded, camera.groups):
        return False
    text = folded(" ".join(_searched(camera)))
    return all(word in text for word in folded(words).split())


def _searched(camera: Camera) -> Iterable[str]:
    yield camera.camera_id
    yield camera.name
    yield from camera.groups
    if camera.location and camera.location.place:
        yield camera.location.place
