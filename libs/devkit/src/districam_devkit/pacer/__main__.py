"""`python -m districam_devkit.pacer`: simulated cameras on loopback until standard input ends.

It prints `{"port"}` when it listens, and one line of JSON for each command on standard input. `begin` resets the
lateness histogram. `state` returns how many cameras have a client. `stop` ends each stream after a whole picture
and returns `{"units": {camera: pictures from its first keyframe on}, "late_ms_p99", "late_ms_p50", "bytes"}`.
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

from districam_devkit.pacer.client import Client
from districam_devkit.pacer.prebuilt_clip import PrebuiltClip, prebuild
from districam_devkit.simcam.clips import Generated, open_clip
from districam_devkit.simcam.server import CLIP_CACHE

COALESCE_S = 0.0005
"""Packets due within this time are sent now: a system call per wait costs more than it gains in precision."""
_MAX_LATE_MS = 10_000


class Pacer:
    """Sends packets in the order in which they are due. One thread without an event loop, to save CPU time."""

    def __init__(self, clip: PrebuiltClip, *, spread: float) -> None:
        self._clip, self._spread = clip, spread
        self._selector = selectors.DefaultSelector()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listening.setblocking(False)  # noqa: FBT003  # its only parameter
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        self._due: list[tuple[float, int]] = []
        self._clients: dict[int, Client] = {}
        self._units: dict[str, int] = {}
        self._late_ms = [0] * (_MAX_LATE_MS + 1)
        self._bytes = self._clients_started = 0
        self._is_open = True
        self.port = int(self._listening.getsockname()[1])

    def run(self) -> None:
        """Runs until `stop` or the end of standard input, and until each started picture is sent."""
        while self._is_open or self._due:
            now_s = time.monotonic()
            self._send_due(now_s + COALESCE_S)
            wait_s = min(self._due[0][0] - time.monotonic(), 0.1) if self._due else 0.1
            for key, _ in self._selector.select(max(0, wait_s)):
                self._handle_readable(key.fileobj)

    def _send_due(self, until_s: float) -> None:
        due = self._due
        while due and due[0][0] <= until_s:
            due_s, number = heapq.heappop(due)
            client = self._clients[number]
            self._late_ms[min(max(0, int((time.monotonic() - due_s) * 1000)), _MAX_LATE_MS)] += 1
            next_s = client.send_next_packet(self._spread)
            if next_s is None or client.is_disconnected:
                self._remove_client(number)
            else:
                heapq.heappush(due, (next_s, number))

    def _handle_readable(self, ready: object) -> None:
        if ready is self._listening:
            connection, _ = self._listening.accept()
            connection.setblocking(False)  # noqa: FBT003  # its only parameter
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._clients[connection.fileno()] = Client(connection, self._clip)
            self._selector.register(connection, selectors.EVENT_READ)
        elif isinstance(ready, socket.socket):
            self._receive(ready)
        else:
            for word in os.read(sys.stdin.fileno(), 4096).split() or [b"stop"]:
                self._run_command(word.decode())

    def _receive(self, connection: socket.socket) -> None:
        number = connection.fileno()
        client = self._clients[number]
        was_playing = client.is_playing
        client.receive()
        if client.is_playing and not was_playing:
            self._clients_started += 1
            heapq.heappush(self._due, (self._begin(client), number))
        elif client.is_disconnected and not client.is_playing:
            self._remove_client(number)
        elif client.is_disconnected:
            self._selector.unregister(connection)  # it is removed when its next packet is due

    def _begin(self, client: Client) -> float:
        """Spreads the cameras' picture times and their positions in the clip."""
        phase = self._clients_started * 0.618_034 % 1
        picture_index = round(phase * len(self._clip.pictures))
        return client.start(time.monotonic() + self._clip.interval_s * (0.5 + phase), picture_index)

    def _remove_client(self, number: int) -> None:
        client = self._clients.pop(number)
        self._units[client.camera_id] = self._units.get(client.camera_id, 0) + client.units
        self._bytes += client.sent_bytes
        if client.connection in self._selector.get_map():
            self._selector.unregister(client.connection)
        client.flush_and_close()

    def _run_command(self, command: str) -> None:
        if command == "begin":
            self._late_ms = [0] * (_MAX_LATE_MS + 1)
        elif command == "stop" and self._is_open:
            self._is_open = False
            self._selector.unregister(self._listening)
            self._selector.unregister(sys.stdin.fileno())
            self._listening.close()
            for client in self._clients.values():
                client.is_stopping = True
        playing = sum(viewer.is_playing for viewer in self._clients.values())
        print(json.dumps({"watched": playing}), flush=True)

    def report(self) -> dict[str, object]:
        """The answer to `stop`."""
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
        return _MAX_LATE_MS


def main() -> None:
    parser = argparse.ArgumentParser("pacer", description=__doc__)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--bitrate", type=int, default=2_000_000)
    parser.add_argument(
        "--spread", type=float, default=0.5, help="share of the frame interval over which a picture's packets are sent"
    )
    arguments = parser.parse_args()
    source = Generated(
        width=arguments.width, height=arguments.height, bitrate=arguments.bitrate, label="bench", one_slice=True
    )
    pacer = Pacer(prebuild(open_clip(source, cache=Path(CLIP_CACHE))), spread=arguments.spread)
    print(json.dumps({"port": pacer.port}), flush=True)
    pacer.run()
    print(json.dumps(pacer.report()), flush=True)


if __name__ == "__main__":
    main()
