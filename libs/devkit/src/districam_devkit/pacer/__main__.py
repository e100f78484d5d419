"""`python -m districam_devkit.pacer`: cameras on loopback until standard input ends. It prints a line of JSON for each word.

`{"port"}` when it listens. `begin`: lateness counts anew. `state`: how many are being watched. `stop`: each ends behind a
whole picture; then `{"units": {camera: pictures from its first keyframe on}, "late_ms_p99", "late_ms_p50", "bytes"}`.
"""

import argparse
import heapq
import json
import os
import selectors
import socket
import sys
import time
from pathlib import Path

from districam_devkit.pacer.film import Film, film
from districam_devkit.pacer.viewer import Viewer
from districam_devkit.simcam.clips import Generated, open_clip
from districam_devkit.simcam.server import CLIP_CACHE

GRAIN_S = 0.0005
"""Packets that are due so soon go now: a system call for each wait costs more than it gives."""
_LATE_MOST_MS = 10_000


class Pacer:
    """Sends packets in the order in which they are due; one thread, no event loop: that is what makes it cheap."""

    def __init__(self, shown: Film, *, spread: float) -> None:
        self._film, self._spread = shown, spread
        self._selector = selectors.DefaultSelector()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listening.setblocking(False)  # noqa: FBT003  # its only parameter
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        self._due: list[tuple[float, int]] = []
        self._viewers: dict[int, Viewer] = {}
        self._units: dict[str, int] = {}
        self._late_ms = [0] * (_LATE_MOST_MS + 1)
        self._bytes = self._watched = 0
        self._is_open = True
        self.port = int(self._listening.getsockname()[1])

    def run(self) -> None:
        """Until told to stop, and each picture that was begun is sent."""
        while self._is_open or self._due:
            now_s = time.monotonic()
            self._send_due(now_s + GRAIN_S)
            wait_s = min(self._due[0][0] - time.monotonic(), 0.1) if self._due else 0.1
            for key, _ in self._selector.select(max(0, wait_s)):
                self._look(key.fileobj)

    def _send_due(self, until_s: float) -> None:
        due = self._due
        while due and due[0][0] <= until_s:
            due_s, number = heapq.heappop(due)
            viewer = self._viewers[number]
            self._late_ms[min(max(0, int((time.monotonic() - due_s) * 1000)), _LATE_MOST_MS)] += 1
            next_s = viewer.step(self._spread)
            if next_s is None or viewer.is_gone:
                self._part(number)
            else:
                heapq.heappush(due, (next_s, number))

    def _look(self, found: object) -> None:
        if found is self._listening:
            connection, _ = self._listening.accept()
            connection.setblocking(False)  # noqa: FBT003  # its only parameter
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._viewers[connection.fileno()] = Viewer(connection, self._film)
            self._selector.register(connection, selectors.EVENT_READ)
        elif isinstance(found, socket.socket):
            self._hear(found)
        else:
            for word in os.read(sys.stdin.fileno(), 4096).split() or [b"stop"]:
                self._obey(word.decode())

    def _hear(self, connection: socket.socket) -> None:
        number = connection.fileno()
        viewer = self._viewers[number]
        was_playing = viewer.is_playing
        viewer.hear()
        if viewer.is_playing and not was_playing:
            self._watched += 1
            heapq.heappush(self._due, (self._begin(viewer), number))
        elif viewer.is_gone and not viewer.is_playing:
            self._part(number)
        elif viewer.is_gone:
            self._selector.unregister(connection)  # it is parted from when its next packet is due

    def _begin(self, viewer: Viewer) -> float:
        """Cameras differ in when their pictures come, and in where they stand in the film."""
        part = self._watched * 0.618_034 % 1
        place = round(part * len(self._film.pictures))
        return viewer.begin(time.monotonic() + self._film.interval_s * (0.5 + part), place)

    def _part(self, number: int) -> None:
        viewer = self._viewers.pop(number)
        self._units[viewer.camera_id] = self._units.get(viewer.camera_id, 0) + viewer.units
        self._bytes += viewer.sent_bytes
        if viewer.connection in self._selector.get_map():
            self._selector.unregister(viewer.connection)
        viewer.finish()

    def _obey(self, word: str) -> None:
        if word == "begin":
            self._late_ms = [0] * (_LATE_MOST_MS + 1)
        elif word == "stop" and self._is_open:
            self._is_open = False
            self._selector.unregister(self._listening)
            self._selector.unregister(sys.stdin.fileno())
            self._listening.close()
            for viewer in self._viewers.values():
                viewer.is_ending = True
        playing = sum(viewer.is_playing for viewer in self._viewers.values())
        print(json.dumps({"watched": playing}), flush=True)

    def report(self) -> dict[str, object]:
        """What `stop` is answered with."""
        return {
            "units": self._units,
            "bytes": self._bytes,
            "late_ms_p50": self._late(0.5),
            "late_ms_p99": self._late(0.99),
        }

    def _late(self, share: float) -> int:
        left = sum(self._late_ms) * share
        for late_ms, count in enumerate(self._late_ms):
            left -= count
            if left <= 0:
                return late_ms
        return _LATE_MOST_MS


def main() -> None:
    parser = argparse.ArgumentParser("pacer", description=__doc__)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--bitrate", type=int, default=2_000_000)
    parser.add_argument(
        "--spread", type=float, default=0.5, help="the share of a picture's interval it takes"
    )
    asked = parser.parse_args()
    source = Generated(
        width=asked.width, height=asked.height, bitrate=asked.bitrate, label="bench", one_slice=True
    )
    pacer = Pacer(film(open_clip(source, cache=Path(CLIP_CACHE))), spread=asked.spread)
    print(json.dumps({"port": pacer.port}), flush=True)
    pacer.run()
    print(json.dumps(pacer.report()), flush=True)


if __name__ == "__main__":
    main()
