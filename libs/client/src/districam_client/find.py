"""`districam find`: cameras by words, their state at an instant, and the commands that fetch their footage."""

from collections.abc import Iterator, Mapping, Sequence
from zoneinfo import ZoneInfo

from districam_client.api_client import ApiClient, Json
from districam_client.errors import EXIT_OK, NotFound
from districam_client.screen import Screen
from districam_client.times import format_iso

CLIP_MARGIN_US = 30_000_000
"""The suggested clip reaches this far before and after the instant."""
_PAGE_LIMIT = 1000


def find(client: ApiClient, screen: Screen, words: str, at_us: int | None, zone: ZoneInfo) -> int:
    """Shows the cameras that match, with their state at that instant, or now. Returns the exit code.

    Raises:
        NotFound: none matches. CommandError: the api does not answer.
    """
    query = {"q": words, "tz": zone.key, "limit": str(_PAGE_LIMIT)}
    cameras = list(_pages(client, "/v1/cameras", query))
    states = {one["camera_id"]: one for one in cameras}
    if at_us is not None:
        covered = _pages(client, "/v1/coverage", query | {"at": format_iso(at_us, zone)})
        states = {one["camera_id"]: one for one in covered}
    found = [(one, _row(one, states.get(one["camera_id"], {}), at_us, zone)) for one in cameras]
    rows = [row for camera, row in found if not camera["deleted"] or row["state"] == "recorded"]
    if not rows:
        raise NotFound(f"no camera matches {words!r} in its id, name, place or groups")
    if screen.is_json:
        at = None if at_us is None else format_iso(at_us, zone)
        screen.result({"at": at, "tz": zone.key, "cameras": rows}, "")
        return EXIT_OK
    screen.table(("id", "name", "place", "state"), [_fields(row) for row in rows])
    for command in (command for row in rows for command in row["commands"].values()):
        screen.line(command)
    return EXIT_OK


def _pages(client: ApiClient, path: str, query: Mapping[str, str]) -> Iterator[Json]:
    """The cameras of every page."""
    following: dict[str, str] = {}
    while True:
        page = client.get_json(path, {**query, **following})
        yield from page["cameras"]
        if not page["next"]:
            return
        following = {"cursor": page["next"]}


def _row(camera: Json, state: Json, at_us: int | None, zone: ZoneInfo) -> Json:
    location: Json = camera["location"] or {}
    return {
        "camera_id": camera["camera_id"],
        "name": camera["name"],
        "place": location.get("place"),
        **{name: state.get(name) or None for name in ("state", "cause", "detail")},
        "commands": {} if at_us is None else _commands(camera["camera_id"], at_us, zone),
    }


def _commands(camera_id: str, at_us: int, zone: ZoneInfo) -> dict[str, str]:
    from_, at, to = (format_iso(us, zone) for us in (at_us - CLIP_MARGIN_US, at_us, at_us + CLIP_MARGIN_US))
    return {
        "still": f"districam still {camera_id} --at {at}",
        "clip": f"districam clip {camera_id} --from {from_} --to {to}",
    }


def _fields(row: Json) -> Sequence[str]:
    state = ": ".join(str(row[name]) for name in ("state", "cause", "detail") if row[name])
    return row["camera_id"], row["name"], row["place"] or "", state
