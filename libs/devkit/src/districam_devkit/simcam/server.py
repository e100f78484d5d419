"""The simulation: one RTSP server for any number of cameras, also over TLS."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from districam_devkit.simcam import certificate
from districam_devkit.simcam.auth import Credentials
from districam_devkit.simcam.behavior import CameraBehavior
from districam_devkit.simcam.camera import LiveCamera
from districam_devkit.simcam.clips import Clip, ClipSource, labelled, open_clip
from districam_devkit.simcam.connection import SESSION_TIMEOUT_S, Connection
from districam_devkit.simcam.faults import ATTACKS, Fault, RateFault, TimedFault
from districam_devkit.simcam.microphone import AudioConfig
from districam_devkit.simcam.packetized_clip import PacketizedClip, packetize
from districam_devkit.simcam.send_log import SendLog, open_send_log

CLIP_CACHE = Path(".devkit/clips")
_HOST = "127.0.0.1"
_STOP_TIMEOUT_S = 5.0
_SWEEP_INTERVAL_S = 5.0

log = structlog.get_logger("simcam")


@dataclass(frozen=True, slots=True)
class SimCamera:
    """What a camera plays, and how.

    Attributes:
        spread: the share of the frame interval over which an access unit's packets are sent, in `writes`
            writes.
        other_clip: the clip that it plays after a `change`.
        start_offset_s: position in its clip at the start; by default derived from the id.
        audio: its audio, if it has any.
    """

    camera_id: str
    clip: ClipSource | Clip
    spread: float = 0.5
    writes: int = 3
    start_at_keyframe: bool = False
    other_clip: ClipSource | Clip | None = None
    start_offset_s: float | None = None
    behavior: CameraBehavior = field(default_factory=CameraBehavior)
    audio: AudioConfig | None = None


class Simulation:
    """Running cameras, and the faults that can be injected."""

    def __init__(self, cameras: Sequence[LiveCamera], credentials: Credentials | None) -> None:
        self.port = self.secure_port = 0
        self.cameras = {camera.camera_id: camera for camera in cameras}
        self._credentials = credentials
        self._connections: set[Connection] = set()
        self._accepted = 0

    def url(self, camera_id: str) -> str:
        """URL without credentials. Raises KeyError for an unknown camera."""
        return f"rtsp://{_HOST}:{self.port}/{self.cameras[camera_id].camera_id}"

    def secure_url(self, camera_id: str) -> str:
        """The same camera's URL over TLS; requires a simulation with a certificate."""
        return f"rtsps://{_HOST}:{self.secure_port}/{self.cameras[camera_id].camera_id}"

    def urls(self) -> dict[str, str]:
        return {camera_id: self.url(camera_id) for camera_id in self.cameras}

    def connections(self, camera_id: str) -> list[Connection]:
        """Open connections that are set up for the camera."""
        self._forget_closed()
        return [wire for wire in self._connections if wire.camera_id == camera_id]

    def drop(self, camera_id: str) -> int:
        """Closes the camera's connections at once, even within an access unit; returns how many."""
        dropped = self.connections(camera_id)
        for connection in dropped:
            connection.abort()
        log.info("fault", kind="drop", camera_id=camera_id, connections=len(dropped))
        return len(dropped)

    def switch_clip(self, camera_id: str) -> None:
        """Plays the other clip from the next picture on; if the codec differs, closes the connections."""
        camera = self.cameras[camera_id]
        former = camera.clip.codec
        camera.switch_clip()
        log.info("fault", kind="change", camera_id=camera_id, codec=camera.clip.codec)
        if camera.clip.codec != former:
            self.drop(camera_id)

    def silence(self, camera_id: str, for_s: float) -> None:
        """Sends no RTP or RTCP for `for_s`; connections stay open and requests are answered."""
        self.start_fault(camera_id, "silence", for_s)

    def start_fault(self, camera_id: str, fault: TimedFault, for_s: float) -> None:
        """Injects a fault of a kind of `Fault` for `for_s`."""
        self.cameras[camera_id].start_fault(fault, for_s)
        log.info("fault", kind=fault, camera_id=camera_id, for_s=for_s)
        if fault in ATTACKS:
            self.drop(camera_id)

    def jump_timestamps(self, camera_id: str, by_s: float) -> None:
        """Shifts timestamps by `by_s` (may be negative) from the next picture on."""
        self.cameras[camera_id].jump_timestamps(by_s)
        log.info("fault", kind="forward", camera_id=camera_id, by_s=by_s)

    def start_rate_fault(self, camera_id: str, kind: RateFault, percent: float, for_s: float) -> None:
        """Injects a fault that has a rate (see `Fault`) for `for_s`."""
        self.cameras[camera_id].start_rate_fault(kind, percent, for_s)
        log.info("fault", kind=kind, camera_id=camera_id, percent=percent, for_s=for_s)

    def step_wall_clock(self, camera_id: str, by_s: float) -> None:
        """Shifts the camera's wall clock by `by_s` (may be negative)."""
        self.cameras[camera_id].step_wall_clock(by_s)
        log.info("fault", kind="ahead", camera_id=camera_id, by_s=by_s)

    def refuse_requests(self, camera_id: str, status: int, for_s: float) -> None:
        """Closes the camera's connections and answers requests except OPTIONS with the status for `for_s`."""
        self.cameras[camera_id].refuse_requests(status, for_s)
        self.drop(camera_id)
        log.info("fault", kind=str(status), camera_id=camera_id, for_s=for_s)

    def inject(self, fault: Fault) -> None:
        match fault.kind:
            case "drop":
                self.drop(fault.camera_id)
            case "change":
                self.switch_clip(fault.camera_id)
            case "forward":
                self.jump_timestamps(fault.camera_id, fault.for_s)
            case "back":
                self.jump_timestamps(fault.camera_id, -fault.for_s)
            case "ahead":
                self.step_wall_clock(fault.camera_id, fault.for_s)
            case "behind":
                self.step_wall_clock(fault.camera_id, -fault.for_s)
            case "lose" | "reorder" | "drift":
                self.start_rate_fault(fault.camera_id, fault.kind, fault.percent, fault.for_s)
            case "401" | "404" | "453" | "454" | "503":
                self.refuse_requests(fault.camera_id, int(fault.kind), fault.for_s)
            case _:
                self.start_fault(fault.camera_id, fault.kind, fault.for_s)

    # --- used by `running` only

    def accept(self) -> Connection:
        self._forget_closed()
        self._accepted += 1
        connection = Connection(self._accepted, self.cameras, self._credentials)
        self._connections.add(connection)
        return connection

    async def sweep(self) -> None:
        """Closes connections that were idle longer than the session timeout, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_INTERVAL_S)
            for connection in self._connections:
                if loop.time() - connection.last_received_s > SESSION_TIMEOUT_S + _SWEEP_INTERVAL_S:
                    connection.abort()
            self._forget_closed()

    async def inject_all(self, faults: Sequence[Fault]) -> None:
        elapsed_s = 0.0
        for fault in sorted(faults, key=lambda fault: fault.at_s):
            await asyncio.sleep(fault.at_s - elapsed_s)
            elapsed_s = fault.at_s
            self.inject(fault)

    async def flush_and_close(self) -> None:
        """Flushes every connection to its client, then closes it."""
        async with asyncio.TaskGroup() as tasks:
            for connection in self._connections:
                tasks.create_task(connection.flush_and_close(_STOP_TIMEOUT_S))
        for camera in self.cameras.values():
            camera.log_flushed_units()

    def _forget_closed(self) -> None:
        self._connections = {wire for wire in self._connections if not wire.is_closed}


@asynccontextmanager
async def running(
    cameras: Sequence[SimCamera],
    *,
    port: int = 0,
    log: Path | None = None,
    credentials: Credentials | None = None,
    faults: Sequence[Fault] = (),
    cache: Path = CLIP_CACHE,
    certificate_path: Path | None = None,
    host: str = _HOST,
) -> AsyncGenerator[Simulation]:
    """Runs the cameras. `port` 0 means a free one; `host` is loopback by default; `log` is the send log's path.

    With `certificate_path` (see `certificate.create_self_signed`) it also serves `rtsps`. At the block's end access
    units in progress are finished and written bytes flushed, then connections and log closed.
    Raises ValueError for invalid cameras or faults, OSError if the port is in use.
    """
    if len({camera.camera_id for camera in cameras}) < len(cameras):
        raise ValueError("two cameras have the same id")
    clips = await asyncio.to_thread(_open_clips, cameras, cache)
    with open_send_log(log) as send_log:
        lives = [_live(camera, programs, send_log) for camera, programs in zip(cameras, clips, strict=True)]
        simulation = Simulation(lives, credentials)
        _check_faults(simulation, faults)
        server = await asyncio.get_running_loop().create_server(simulation.accept, host, port)
        servers = [server]
        simulation.port = int(server.sockets[0].getsockname()[1])
        if certificate_path is not None:
            tls = await asyncio.get_running_loop().create_server(
                simulation.accept, host, ssl=certificate.context(certificate_path)
            )
            simulation.secure_port = int(tls.sockets[0].getsockname()[1])
            servers.append(tls)
        failure: Exception | None = None
        async with asyncio.TaskGroup() as tasks:
            attendants = [tasks.create_task(simulation.sweep()), tasks.create_task(simulation.inject_all(faults))]
            players = [tasks.create_task(camera.run()) for camera in lives]
            microphones = [camera.microphone for camera in lives if camera.microphone is not None]
            players += [tasks.create_task(microphone.run()) for microphone in microphones]
            try:
                yield simulation
            except Exception as error:  # noqa: BLE001  # raised below: a task group would wrap the error of the block
                failure = error
            finally:
                for server in servers:
                    server.close()
                for camera in lives:
                    camera.stop()
                for microphone in microphones:
                    microphone.stop()
                await asyncio.wait(players, timeout=_STOP_TIMEOUT_S)
                await simulation.flush_and_close()
                for task in attendants:
                    task.cancel()
        if failure is not None:
            raise failure


def _open_clips(cameras: Sequence[SimCamera], cache: Path) -> list[list[PacketizedClip]]:
    """Returns each camera's clips; cameras with the same source share them."""
    opened: dict[ClipSource, PacketizedClip] = {}

    def opening(source: ClipSource | Clip, camera_id: str) -> PacketizedClip:
        if isinstance(source, Clip):
            return packetize(source)
        source = labelled(source, camera_id)
        if source not in opened:
            opened[source] = packetize(open_clip(source, cache=cache))
        return opened[source]

    return [
        [opening(source, camera.camera_id) for source in (camera.clip, camera.other_clip) if source is not None]
        for camera in cameras
    ]


def _live(camera: SimCamera, clips: Sequence[PacketizedClip], send_log: SendLog) -> LiveCamera:
    rates = {program.clip.fps for program in clips}
    if len(rates) > 1:
        raise ValueError(f"{camera.camera_id}: its clips have different frame rates")
    begins_s = camera.start_offset_s
    return LiveCamera(
        camera.camera_id,
        clips,
        send_log,
        spread=camera.spread,
        writes=camera.writes,
        start_at_keyframe=camera.start_at_keyframe,
        first_unit=None if begins_s is None else round(begins_s * float(*rates)),
        behavior=camera.behavior,
        audio=camera.audio,
    )


def _check_faults(simulation: Simulation, faults: Sequence[Fault]) -> None:
    for fault in faults:
        if fault.camera_id not in simulation.cameras:
            raise ValueError(f"unknown camera in a fault: {fault.camera_id}")
        if fault.kind == "change" and not simulation.cameras[fault.camera_id].has_other_clip:
            raise ValueError(f"{fault.camera_id}: a change needs another clip (`other`)")
