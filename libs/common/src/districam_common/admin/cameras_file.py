"""cameras.yaml: parsing, validation, and comparison with the current cameras.

cameras:
  - camera_id: cam-001
    name: Cổng chợ Bến Thành
    url: rtsp://10.0.0.11:554/Streaming/Channels/101
    credential: market        # name of an entry in the credentials' file; never a password here
    location: {latitude: 10.7725, longitude: 106.6980, heading_deg: 90, place: Quận 1}
"""

import dataclasses
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import yaml
from pydantic import ValidationError

from districam_common.contract import camera_fields
from districam_common.contract.camera_fields import CameraEntry
from districam_common.contract.events import Camera, Location
from districam_common.contract.names import DAY_US
from districam_common.contract.wire import type_adapter

_FIELDS = set(CameraEntry.model_fields)
RETENTION_MARGIN_DAYS = 5
"""The topics of segments and events must be retained this much longer than the footage."""


class CamerasFileError(Exception):
    """The file is invalid; `problems` names each camera and field, and the fix."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


# ---- the file


class _Loader(yaml.SafeLoader):
    """Rejects duplicate keys, which YAML forbids and PyYAML accepts, using the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  # the library's
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def parse_cameras_file(text: str, *, topic_retention_days: float) -> list[Camera]:
    """The cameras of a file, in its order.

    Raises:
        CamerasFileError: with all problems of the file.
    """
    problems: list[str] = []
    cameras: list[Camera] = []
    for number, given in enumerate(_entries(text), 1):
        camera = _camera(number, given, problems)
        if camera is not None:
            cameras.append(camera)
            problems += _check_file_rules(camera, cameras, topic_retention_days)
    if problems:
        raise CamerasFileError(problems)
    return cameras


def _entries(text: str) -> list[object]:
    try:
        document: object = yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as error:
        raise CamerasFileError([f"not YAML: {error}"]) from error
    if not isinstance(document, dict) or list(cast("dict[object, object]", document)) != ["cameras"]:
        raise CamerasFileError(["the file must be `cameras:` and a list under it, nothing else"])
    entries = cast("dict[str, object]", document)["cameras"]
    if entries is not None and not isinstance(entries, list):
        raise CamerasFileError(["cameras: must be a list"])
    return cast("list[object]", entries or [])


def _camera(number: int, given: object, problems: list[str]) -> Camera | None:
    if not isinstance(given, dict):
        problems.append(f"camera number {number}: must be fields and values, not {given!r:.40}")
        return None
    try:
        entry = CameraEntry.model_validate(given)
    except ValidationError as error:
        is_named = "camera_id" in given and all(one["loc"] != ("camera_id",) for one in error.errors())
        who = cast("object", given["camera_id"]) if is_named else f"number {number}"
        problems += [f"camera {who}: {problem}" for problem in camera_fields.format_problems(error)]
        return None
    location = entry.location and Location(**entry.location.model_dump())
    fields = entry.model_dump(exclude={"groups", "location"})
    return Camera(**fields, groups=tuple(entry.groups), location=location)


def _check_file_rules(camera: Camera, so_far: Sequence[Camera], topic_retention_days: float) -> list[str]:
    problems: list[str] = []
    if sum(camera.camera_id == other.camera_id for other in so_far) > 1:
        problems.append(f"camera {camera.camera_id}: camera_id: given twice; ids are unique")
    max_days = int(topic_retention_days - RETENTION_MARGIN_DAYS)
    if camera.retention_days > max_days:
        problems.append(
            f"camera {camera.camera_id}: retention_days: {camera.retention_days} exceeds {max_days}: the topics of segments "
            f"and events must be retained {RETENTION_MARGIN_DAYS} days longer; raise "
            f"DISTRICAM_TOPICS__SEGMENTS_RETENTION_DAYS to {camera.retention_days + RETENTION_MARGIN_DAYS} and run "
            f"districam-topics apply first"
        )
    return problems


def format_cameras_file(cameras: Iterable[Camera]) -> str:
    """The cameras as a file that `parse_cameras_file` reads; fields with default values are left out."""
    entries = [
        type_adapter(Camera).dump_python(camera, mode="json", include=_FIELDS, exclude_defaults=True)
        for camera in cameras
        if not camera.deleted
    ]
    return yaml.safe_dump({"cameras": entries}, allow_unicode=True, sort_keys=False)


# ---- changes


@dataclass(frozen=True, slots=True)
class Change:
    """A revision to publish, and the fields that it changes: `(field, before, after)`."""

    kind: Literal["add", "change", "restore", "delete"]
    camera: Camera
    fields: tuple[tuple[str, object, object], ...] = ()


def diff_cameras(current: Mapping[str, Camera], wanted: Sequence[Camera], *, prune: bool, now_us: int) -> list[Change]:
    """The revisions that turn `current` into `wanted`. With `prune`, cameras that are not in `wanted` are deleted."""
    found = [_diff_camera(current.get(camera.camera_id), camera, now_us) for camera in wanted]
    out = [change for change in found if change is not None]
    if prune:
        named = {camera.camera_id for camera in wanted}
        out += [
            deletion(camera, now_us=now_us)
            for camera in current.values()
            if camera.camera_id not in named and not camera.deleted
        ]
    return out


def _diff_camera(before: Camera | None, wanted: Camera, now_us: int) -> Change | None:
    if before is None:
        return Change("add", dataclasses.replace(wanted, revision=1, updated_us=now_us))
    fields = tuple(
        (name, getattr(before, name), getattr(wanted, name))
        for name in CameraEntry.model_fields
        if getattr(before, name) != getattr(wanted, name)
    )
    if not fields and not before.deleted:
        return None
    return Change("restore" if before.deleted else "change", _next_revision(before, wanted, now_us), fields)


def deletion(camera: Camera, *, now_us: int) -> Change:
    """The revision that deletes a camera; its footage stays until its retention ends."""
    return Change("delete", _next_revision(camera, dataclasses.replace(camera, deleted=True), now_us))


def _next_revision(before: Camera, after: Camera, now_us: int) -> Camera:
    """The revision after `before`; its `updated_us` is greater even if the clock is behind, since revisions sort by it.

    Except when that of `before` is more than a day ahead; the index sorts such a revision by its append time.
    """
    is_ahead = before.updated_us > now_us + DAY_US
    updated_us = now_us if is_ahead else max(now_us, before.updated_us + 1)
    return dataclasses.replace(after, revision=before.revision + 1, updated_us=updated_us)
