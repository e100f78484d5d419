"""One process that is N RTSP cameras. Every access unit carries a running number; a log says which were sent."""

from districam_devkit.simcam.auth import Credentials
from districam_devkit.simcam.clips import Clip, Footage, Generated
from districam_devkit.simcam.faults import Fault, parse_fault
from districam_devkit.simcam.manners import Manners
from districam_devkit.simcam.microphone import Hearing, Microphone
from districam_devkit.simcam.sendlog import Sent, read_send_log
from districam_devkit.simcam.server import SimCamera, Simulation, running
from districam_devkit.simcam.tones import Tone, tone

__all__ = [
    "Clip",
    "Credentials",
    "Fault",
    "Footage",
    "Generated",
    "Hearing",
    "Manners",
    "Microphone",
    "Sent",
    "SimCamera",
    "Simulation",
    "Tone",
    "parse_fault",
    "read_send_log",
    "running",
    "tone",
]
