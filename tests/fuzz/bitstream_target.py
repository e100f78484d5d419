"""Bitstreams of cameras' encoders and the resulting MP4: H.264, H.265 and AAC in, fragments and a clip out.

An input's first byte gives its type: NAL units with start codes, of H.264 or H.265, with or without AAC; or
an MP4, as the api reads it from the store and the client from the api.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from districam_api.core import clip_fragments
from districam_api.core.clip_audio import audio_track
from districam_client.mp4_checker import FragmentedMp4Checker, InvalidMp4
from districam_common.contract import ticks
from districam_common.contract.events import Camera, StreamEvent
from districam_common.contract.media import Fragment
from districam_common.contract.segment_array import IndexEntry
from districam_common.contract.wire import WireError, decode_fragment, fragment_message
from districam_common.mp4 import boxes as mp4
from districam_common.pictures.annex_b import to_annex_b
from districam_common.pictures.messages import BadMessageError, decode_head, decode_lengths
from districam_ingest.clocks.host_clock import HostClock
from districam_ingest.codec.aac import AudioParameters, parse_audio_specific_config
from districam_ingest.codec.nal import BitstreamError, Codec, is_first_slice, split_annexb
from districam_ingest.codec.video_parameters import MAX_AREA_PX
from districam_ingest.output.sinks import Sinks
from districam_ingest.readers.reader import SourceInfo
from districam_ingest.recording.audio_sync import AudioSync
from districam_ingest.recording.epoch import Epoch
from districam_ingest.recording.epoch_splitter import Append, End, EpochSplitter, Start
from districam_ingest.recording.fragmenter import FragmentLimits
from districam_ingest.recording.rate_limits import CameraRateLimits
from districam_ingest.units import AudioUnit, Picture
from fuzz.target import Finding, Target, require
from unit.ingest import samples

if TYPE_CHECKING:
    from districam_ingest.output.send_queue import SendQueue
    from districam_ingest.output.stills import StillMaker, StillRequest

IS_HEVC, IS_MP4, HAS_AUDIO, HAS_SETS, IS_LATE, IS_FULL = (1 << n for n in range(6))
S, OFFSET_US = 1_000_000, 1_790_000_000_000_000
CAMERA = Camera(camera_id="cam-1", name="x", url="rtsp://127.0.0.1/x")
MAX_PICTURES = 64
EPOCH = "01900000-0000-7000-8000-000000000000"
AAC = b"\x14\x08"


@dataclass
class FakeSendQueue:
    """Accepts what an epoch produces, in place of Kafka and of stills."""

    is_full: bool
    host_clock: HostClock = field(default_factory=HostClock)
    fragments: list[Fragment] = field(default_factory=list[Fragment])
    held_bytes: int = 0

    def has_room(self, size_bytes: int) -> bool:
        return not self.is_full or len(self.fragments) % 2 == 0

    def adjust_buffered_bytes(self, delta_bytes: int) -> bool:
        self.held_bytes += delta_bytes
        return self.held_bytes < 2048 or not self.is_full

    def put_fragment(self, one: Fragment) -> None:
        self.fragments.append(one)

    def put_event(self, camera_id: str, event: StreamEvent) -> None:
        require(getattr(event, "camera_id", camera_id) == camera_id, "an event of another camera")

    def submit(self, request: "StillRequest") -> None:
        with suppress(ValueError):
            to_annex_b(request.codec, request.config, request.data)


def run(data: bytes) -> None:
    """Recorded bitstreams must be readable by the downstream services; MP4 input may only raise the declared errors."""
    if not data:
        return
    if data[0] & IS_MP4:
        _read(data[1:])
        return
    codec: Codec = "hevc" if data[0] & IS_HEVC else "h264"
    queue = _recorded(codec, data[0], split_annexb(data[1:]))
    require(queue.held_bytes == 0, f"{queue.held_bytes} bytes are held of an epoch that is over")
    for one in queue.fragments:
        _check_fragment(one)


def _recorded(codec: Codec, settings: int, nals: list[bytes]) -> FakeSendQueue:
    queue = FakeSendQueue(bool(settings & IS_FULL))
    queue.host_clock.feed_host_time(OFFSET_US, 0)
    sinks = Sinks(
        send_queue=cast("SendQueue", queue),
        stills=cast("StillMaker", queue),
        instance="fuzz",
        host_clock=queue.host_clock,
        now_us=lambda: OFFSET_US,
    )
    sets = tuple(nals[:3]) if settings & HAS_SETS else ()
    shape = parse_audio_specific_config(AAC, 16_000) if settings & HAS_AUDIO else None
    splitter, epoch = EpochSplitter(codec, sets), None
    for number, picture in enumerate(_pictures(codec, nals, is_late=bool(settings & IS_LATE))):
        for step in splitter.decide(picture):
            if isinstance(step, Start):
                with suppress(BitstreamError):
                    epoch = _epoch(step, codec, sinks, shape, number)
            elif isinstance(step, Append) and epoch is not None:
                epoch.feed(step)
            elif isinstance(step, End) and epoch is not None:
                epoch.close(step.cause, step.detail, interval_us=step.interval_us)
                epoch = None
    if epoch is not None:
        epoch.close("handover", "no more comes", interval_us=splitter.interval_us)
    return queue


def _epoch(step: Start, codec: Codec, sinks: Sinks, audio_parameters: AudioParameters | None, number: int) -> Epoch:
    require(
        0 < step.video_parameters.width * step.video_parameters.height <= MAX_AREA_PX,
        f"a picture of {step.video_parameters.width} x {step.video_parameters.height}",
    )
    track = None if audio_parameters is None else AudioSync(audio_parameters)
    if track is not None:
        track.reset()
        track.feed_audio(AudioUnit(b"aac", (number * 16 + n) * 1024, number * 40_000 + 64_000 * n) for n in range(8))
    info = SourceInfo(codec=codec, parameter_sets=(), reader="fuzz")
    return Epoch(
        CAMERA, info, step, FragmentLimits(), sinks, epoch_id=EPOCH, rate_limits=CameraRateLimits(), audio_sync=track
    )


def _pictures(codec: Codec, nals: list[bytes], *, is_late: bool) -> Iterator[Picture]:
    """A picture starts at each first slice and its preceding NAL units; some of them have a different timestamp."""
    held: list[bytes] = []
    pts = arrival_us = 0
    has_slice = False
    for nal in nals[: 4 * MAX_PICTURES]:
        begins = is_first_slice(codec, nal)
        if begins and has_slice:
            yield Picture(tuple(held), pts, arrival_us)
            pts += 3600 * (1 + len(nal) % 3 - len(nal) % 2)
            arrival_us += 40_000 + (S * (len(nal) % 7) if is_late else 0)
            held = []
        has_slice = (has_slice and bool(held)) or begins
        held.append(nal)
    if held:
        yield Picture(tuple(held), pts, arrival_us)


def _check_fragment(one: Fragment) -> None:
    """The recorder accepts the record, and a clip can be made of it."""
    message = fragment_message(one, site="local")
    try:
        read = decode_fragment(message.key, message.headers, message.value)
    except WireError as error:
        raise Finding(f"our fragment is rejected: {error}") from error
    require(read == one, "a fragment is read otherwise than it was written")
    init = one.init
    track = mp4.video_track(init)
    (entry,) = mp4.fragments(one.media, track)
    require(len(entry.samples) == one.info.access_units, "pictures are missing in a fragment")
    clip = _clip(init, one.media, one.info.start_us)
    watched = FragmentedMp4Checker()
    watched.feed(init + clip)
    watched.close()


def _clip(init: bytes, media: bytes, start_us: int) -> bytes:
    tracks = mp4.tracks(init)
    track = mp4.video_track(init)
    segment = IndexEntry(
        epoch=EPOCH, first_seq=0, last_seq=9, start_us=start_us, end_us=start_us + 2 * S,
        bytes=len(media), init_bytes=len(init), flags=1,
    )  # fmt: skip
    reading, laid, splitter = (
        clip_fragments.FragmentParser(segment, track, audio_track(tracks)),
        clip_fragments.ClipMuxer(tracks, start_us),
        clip_fragments.FragmentSplitter(),
    )
    out: list[bytes] = []
    half = len(media) // 2
    for piece in (media[:half], media[half:]):
        for found in splitter.feed(piece):
            part = reading.parse(found)
            cut = clip_fragments.trim_to(
                part, part.start_us + ticks.to_us(part.entry.duration, track.timescale) // 2, track
            )
            out += [bytes(one) for part in (part, cut) if part is not None for one in laid.feed(part)]
    splitter.close()
    return b"".join(out)


def _read(data: bytes) -> None:
    """Parses the bytes as an object of the store."""
    with suppress(ValueError):
        init = mp4.init_of(data)
        clip_fragments.codec_parameters(init)
        clip_fragments.set_duration(init, 10 * S)
        _clip(init, data[len(init) :], OFFSET_US)
    with suppress(ValueError):
        mp4.samples(data, mp4.video_track(data))
    watched = FragmentedMp4Checker()
    with suppress(InvalidMp4):
        for at in range(0, len(data), 100):
            watched.feed(data[at : at + 100])
        watched.close(1.0)
    for codec in ("h264", "hevc"):
        with suppress(ValueError):
            to_annex_b(codec, data[1 : 1 + data[0] if data else 0], data[1:])
    with suppress(BadMessageError):
        decode_lengths(data[:8].ljust(8, b"\0"))
        decode_head(data[8:])
    with suppress(BitstreamError):
        parse_audio_specific_config(data[:8], 16_000)


@lru_cache
def _made() -> tuple[bytes, ...]:
    """Fragments produced by ingest's muxer, one with audio, as objects."""
    out: list[bytes] = []
    for settings, codec in ((0, "h264"), (HAS_AUDIO, "h264"), (0, "hevc")):
        queue = _recorded(cast("Codec", codec), settings, split_annexb(_encoded_bitstream(cast("Codec", codec))))
        out += [one.value for one in queue.fragments]
    return tuple(out)


def _encoded_bitstream(codec: Codec, *, count: int = 6) -> bytes:
    sets = samples.B_FRAMES if codec == "h264" else samples.HEVC
    key, other = (samples.IDR, samples.SLICE) if codec == "h264" else (samples.IDR_HEVC, samples.SLICE_HEVC)
    nals = [*sets, key, *[other + bytes(n % 3) + b"\x80" for n in range(count)], *sets, key]
    return b"".join(b"\0\0\0\1" + nal for nal in nals)


def seeds() -> list[bytes]:
    recovery = b"\0\0\1\6\6\1\xc4\x80" + b"\0\0\1" + samples.SLICE
    every = [samples.BASELINE, samples.FULL_HD, samples.B_FRAMES, samples.YUV444, samples.INTERLACED_HRD]
    others = [b"\0" + b"".join(b"\0\0\1" + nal for nal in (*sets, samples.IDR, samples.SLICE)) for sets in every]
    ten_bits = b"\1" + b"".join(b"\0\0\1" + nal for nal in (*samples.HEVC_10, samples.IDR_HEVC, samples.SLICE_HEVC))
    films = [
        bytes((settings | kind,)) + _encoded_bitstream("hevc" if kind else "h264")
        for settings in (0, HAS_AUDIO, HAS_SETS, IS_LATE, IS_FULL)
        for kind in (0, IS_HEVC)
    ]
    changes = (
        b"\0"
        + _encoded_bitstream("h264")
        + b"".join(b"\0\0\1" + nal for nal in (*samples.BASELINE, samples.IDR, samples.SLICE))
    )
    late = bytes((IS_LATE | IS_FULL,)) + _encoded_bitstream("h264", count=40)
    return [
        *others,
        ten_bits,
        *films,
        changes,
        late,
        b"\0" + _encoded_bitstream("h264") + recovery,
        *(bytes((IS_MP4,)) + one for one in _made()),
    ]


BITSTREAMS = Target(
    name="bitstreams",
    run=run,
    seeds=seeds,
    max_bytes=4096,
    dictionary=(
        b"\0\0\1",
        b"\0\0\0\1",
        b"\0\0\1\x65",
        b"\0\0\1\x41",
        b"\0\0\1\x67",
        b"\0\0\1\x68",
        b"\0\0\1\x06",
        b"\0\0\1\x40\1",
        b"\0\0\1\x42\1",
        b"\0\0\1\x26\1",
        b"ftyp",
        b"moov",
        b"trak",
        b"mdia",
        b"mdhd",
        b"hdlr",
        b"vide",
        b"minf",
        b"stbl",
        b"stsd",
        b"mvex",
        b"trex",
        b"moof",
        b"mfhd",
        b"traf",
        b"tfhd",
        b"tfdt",
        b"trun",
        b"mdat",
        b"mvhd",
        b"tkhd",
    ),
)
