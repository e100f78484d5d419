"""The simulation: one RTSP server that is any number of cameras, and the same behind TLS."""

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
        spread: the share of the frame interval that an access unit's packets take, in `writes` writes.
        other_clip: the clip that it plays after a `change`.
        start_offset_s: where in its clip it begins; by default the id decides.
        audio: its sound, if it has any.
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
    """Cameras that run, and what can be done to them."""

    def __init__(self, cameras: Sequence[LiveCamera], credentials: Credentials | None) -> None:
        self.port = self.secure_port = 0
        self.cameras = {camera.camera_id: camera for camera in cameras}
        self._credentials = credentials
        self._connections: set[Connection] = set()
        self._accepted = 0

    def url(self, camera_id: str) -> str:
        """Without credentials. KeyError if there is no such camera."""
        return f"rtsp://{_HOST}:{self.port}/{self.cameras[camera_id].camera_id}"

    def secure_url(self, camera_id: str) -> str:
        """The same camera behind TLS; only of a simulation that has a certificate."""
        return f"rtsps://{_HOST}:{self.secure_port}/{self.cameras[camera_id].camera_id}"

    def urls(self) -> dict[str, str]:
        return {camera_id: self.url(camera_id) for camera_id in self.cameras}

    def connections(self, camera_id: str) -> list[Connection]:
        """Those that are set up for the camera and still open."""
        self._forget_closed()
        return [wire for wire in self._connections if wire.camera_id == camera_id]

    def drop(self, camera_id: str) -> int:
        """Ends the camera's connections at once, mid access unit if so be; returns how many."""
        dropped = self.connections(camera_id)
        for connection in dropped:
            connection.abort()
        log.info("fault", kind="drop", camera=camera_id, connections=len(dropped))
        return len(dropped)

    def switch_clip(self, camera_id: str) -> None:
        """It plays its other clip from the next picture on; a new codec needs new connections."""
        camera = self.cameras[camera_id]
        former = camera.clip.codec
        camera.switch_clip()
        log.info("fault", kind="change", camera=camera_id, codec=camera.clip.codec)
        if camera.clip.codec != former:
            self.drop(camera_id)

    def silence(self, camera_id: str, for_s: float) -> None:
        """Connected, answering requests, but no RTP or RTCP for so long."""
        self.start_fault(camera_id, "silence", for_s)

    def start_fault(self, camera_id: str, fault: TimedFault, for_s: float) -> None:
        """What `Fault` says of the ailment, for so long."""
        self.cameras[camera_id].start_fault(fault, for_s)
        log.info("fault", kind=fault, camera=camera_id, for_s=for_s)
        if fault in ATTACKS:
            self.drop(camera_id)

    def jump_timestamps(self, camera_id: str, by_s: float) -> None:
        """Timestamps are so much later from the next picture on, or earlier."""
        self.cameras[camera_id].jump_timestamps(by_s)
        log.info("fault", kind="leap", camera=camera_id, by_s=by_s)

    def start_rate_fault(self, camera_id: str, kind: RateFault, percent: float, for_s: float) -> None:
        """What `Fault` says of the kind, for so long."""
        self.cameras[camera_id].start_rate_fault(kind, percent, for_s)
        log.info("fault", kind=kind, camera=camera_id, percent=percent, for_s=for_s)

    def step_wall_clock(self, camera_id: str, by_s: float) -> None:
        """The camera's wall clock shows so much more, or less."""
        self.cameras[camera_id].step_wall_clock(by_s)
        log.info("fault", kind="step", camera=camera_id, by_s=by_s)

    def refuse_requests(self, camera_id: str, status: int, for_s: float) -> None:
        """Ends the camera's connections and answers requests (but OPTIONS) with the status for so long."""
        self.cameras[camera_id].refuse_requests(status, for_s)
        self.drop(camera_id)
        log.info("fault", kind=str(status), camera=camera_id, for_s=for_s)

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

    # --- for `running` alone

    def accept(self) -> Connection:
        self._forget_closed()
        self._accepted += 1
        connection = Connection(self._accepted, self.cameras, self._credentials)
        self._connections.add(connection)
        return connection

    async def sweep(self) -> None:
        """Ends the connections that were not heard of for longer than the session timeout, until cancelled."""
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
        """Every byte written reaches the clients that read on; then the connections end."""
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
    """The cameras, on loopback unless `host` is another address, while the block runs; port 0 = a free one; `log` = where the send log goes.

    With `certificate_path`, the path of a certificate (see `certificate.make`), `rtsps` is served as well.

    At the block's end access units in progress are finished, written bytes flushed, connections and log closed.
    Raises ValueError for cameras or faults that make no sense, OSError if the port is taken.
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
            attendants = [
                tasks.create_task(simulation.sweep()),
                tasks.create_task(simulation.inject_all(faults)),
            ]
            players = [tasks.create_task(camera.run()) for camera in lives]
            microphones = [camera.microphone for camera in lives if camera.microphone is not None]
            players += [tasks.create_task(microphone.run()) for microphone in microphones]
            try:
                yield simulation
            except Exception as error:  # noqa: BLE001  # raised below: a task group would wrap the block's own error
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
    """The programs of each; cameras of the same source share them."""
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
        raise ValueError(f"{camera.camera_id}: its clips differ in rate")
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
            raise ValueError(f"a fault names {fault.camera_id}, which is no camera here")
        if fault.kind == "change" and not simulation.cameras[fault.camera_id].has_other_clip:
            raise ValueError(f"{fault.camera_id} has no other clip to change to")
