"""Simulates RTSP cameras in one process. Every access unit has a running number; the send log lists those sent."""

from districam_devkit.simcam.auth import Credentials
from districam_devkit.simcam.behavior import CameraBehavior
from districam_devkit.simcam.clips import Clip, Footage, Generated
from districam_devkit.simcam.faults import Fault, parse_fault
from districam_devkit.simcam.microphone import AudioConfig, Microphone
from districam_devkit.simcam.send_log import SentPicture, read_send_log
from districam_devkit.simcam.server import SimCamera, Simulation, running
from districam_devkit.simcam.tones import Tone, tone

__all__ = [
    "AudioConfig",
    "CameraBehavior",
    "Clip",
    "Credentials",
    "Fault",
    "Footage",
    "Generated",
    "Microphone",
    "SentPicture",
    "SimCamera",
    "Simulation",
    "Tone",
    "parse_fault",
    "read_send_log",
    "running",
    "tone",
]
