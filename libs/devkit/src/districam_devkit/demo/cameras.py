"""The demo's cameras, located in Đức Trọng: two play real footage, two generated clips."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class DemoCamera:
    """A simulated camera and its camera record. `location` is (latitude, longitude, heading)."""

    camera_id: str
    name: str
    place_name: str
    location: tuple[float, float, float]
    groups: tuple[str, ...]
    clip: dict[str, Any]


CAMERAS = (
    DemoCamera(
        "cam-001",
        "Ngã tư Liên Nghĩa",
        "Thị trấn Liên Nghĩa, Đức Trọng",
        (11.7524, 108.3702, 90.0),
        ("giao-thong",),
        {"footage": "bigbuckbunny"},
    ),
    DemoCamera(
        "cam-002",
        "Cổng chợ Tùng Nghĩa",
        "Chợ Tùng Nghĩa, Liên Nghĩa",
        (11.7498, 108.3655, 180.0),
        ("cho",),
        {"footage": "bikes"},
    ),
    DemoCamera(
        "cam-003",
        "Quốc lộ 20, cầu Đại Ninh",
        "Cầu Đại Ninh, Phú Hội",
        (11.6461, 108.3089, 45.0),
        ("giao-thong",),
        {"codec": "h264", "width": 1920, "height": 1080, "fps": 25},
    ),
    DemoCamera(
        "cam-004",
        "Bến xe Đức Trọng",
        "Bến xe Đức Trọng, Liên Nghĩa",
        (11.7461, 108.3741, 270.0),
        ("ben-xe", "giao-thong"),
        {"codec": "h264", "width": 1920, "height": 1080, "fps": 25},
    ),
)


def write_simulator(path: Path, faults: Sequence[str] = ()) -> None:
    """Writes the simulator's specification of the demo's cameras and their faults."""
    spec = {"cameras": [{"id": role.camera_id, "clip": role.clip} for role in CAMERAS], "faults": list(faults)}
    path.write_text(json.dumps(spec), encoding="utf-8")


def write_cameras(path: Path, port: int) -> None:
    """Writes the demo's cameras as cameras.yaml (JSON is YAML)."""
    cameras = [
        {
            "camera_id": role.camera_id,
            "name": role.name,
            "url": f"rtsp://127.0.0.1:{port}/{role.camera_id}",
            "groups": list(role.groups),
            "location": {
                "latitude": role.location[0],
                "longitude": role.location[1],
                "heading_deg": role.location[2],
                "place": role.place_name,
            },
        }
        for role in CAMERAS
    ]
    path.write_text(json.dumps({"cameras": cameras}, ensure_ascii=False, indent=2), encoding="utf-8")
