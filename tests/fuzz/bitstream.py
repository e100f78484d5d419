"""What cameras' encoders write, and the MP4 that is made of it: H.264, H.265 and AAC in, fragments and a clip out.

An input's first byte says what the rest is: NAL units behind start codes, of H.264 or of H.265, with AAC beside them or without;
or an MP4, as the api reads it from the store and the client from the api.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from districam_api.core import placing
from districam_api.core.sound import sound_track
from districam_client.boxes import Broken, Watched
from districam_common.contract import ticks
from districam_common.contract.events import Camera, StreamEvent
from districam_common.contract.index import IndexEntry
from districam_common.contract.media import Fragment
from districam_common.contract.wire import WireError, fragment, fragment_message
from districam_common.mp4 import boxes as mp4
from districam_common.pictures.messages import BadMessageError, head_of, lengths
from districam_common.pictures.parameters import annex_b
from districam_ingest.clocks.host_clock import HostClock
from districam_ingest.codec.aac import SoundShape, sound_shape
from districam_ingest.codec.nal import BitstreamError, Codec, split_annexb, starts_picture
from districam_ingest.codec.shape import AREA_MOST
from districam_ingest.output.outlets import Outlets
from districam_ingest.readers.reading import SourceInfo
from districam_ingest.recording.budget import Budget
from districam_ingest.recording.epoch import Epoch
from districam_ingest.recording.fragmenter import Cuts
from districam_ingest.recording.gate import Ends, Gate, Starts, Takes
from districam_ingest.recording.soundtrack import Soundtrack
from districam_ingest.units import Picture, Sound
from fuzz.target import Found, Target, must
from unit.ingest import samples

if TYPE_CHECKING:
    from districam_ingest.output.publish import Outbox
    from districam_ingest.output.stills import Stills, Wanted

IS_HEVC, IS_MP4, HAS_SOUND, HAS_SETS, IS_LATE, IS_FULL = (1 << n for n in range(6))
S, OFFSET_US = 1_000_000, 1_790_000_000_000_000
CAMERA = Camera(camera_id="cam-1", name="x", url="rtsp://127.0.0.1/x")
PICTURES_MOST = 64
EPOCH = "01900000-0000-7000-8000-000000000000"
AAC = b"\x14\x08"


@dataclass
class Queue:
    """Takes what an epoch offers, in place of Kafka and of stills."""

    is_full: bool
    host_clock: HostClock = field(default_factory=HostClock)
    fragments: list[Fragment] = field(default_factory=list[Fragment])
    held: int = 0

    def has_room(self, size: int) -> bool:
        return not self.is_full or len(self.fragments) % 2 == 0

    def hold(self, more: int) -> bool:
        self.held += more
        return self.held < 2048 or not self.is_full

    def offer_fragment(self, one: Fragment) -> None:
        self.fragments.append(one)

    def offer_event(self, camera_id: str, event: StreamEvent) -> None:
        must(getattr(event, "camera_id", camera_id) == camera_id, "an event of another camera")

    def offer(self, wanted: "Wanted") -> None:
        with suppress(ValueError):
            annex_b(wanted.codec, wanted.config, wanted.data)


def run(data: bytes) -> None:
    """What is made of a bitstream, the services downstream can read; of MP4, nothing but the declared errors comes."""
    if not data:
        return
    if data[0] & IS_MP4:
        _read(data[1:])
        return
    codec: Codec = "hevc" if data[0] & IS_HEVC else "h264"
    queue = _recorded(codec, data[0], split_annexb(data[1:]))
    must(queue.held == 0, f"{queue.held} bytes are held of an epoch that is over")
    for one in queue.fragments:
        _look_at(one)


def _recorded(codec: Codec, settings: int, nals: list[bytes]) -> Queue:
    queue = Queue(bool(settings & IS_FULL))
    queue.host_clock.host(OFFSET_US, 0)
    outlets = Outlets(
        outbox=cast("Outbox", queue), stills=cast("Stills", queue), instance="fuzz", now_us=lambda: OFFSET_US
    )
    sets = tuple(nals[:3]) if settings & HAS_SETS else ()
    shape = sound_shape(AAC, 16_000) if settings & HAS_SOUND else None
    gate, epoch = Gate(codec, sets), None
    for number, picture in enumerate(_pictures(codec, nals, is_late=bool(settings & IS_LATE))):
        for step in gate.judge(picture):
            if isinstance(step, Starts):
                with suppress(BitstreamError):
                    epoch = _epoch(step, codec, outlets, shape, number)
            elif isinstance(step, Takes) and epoch is not None:
                epoch.take(step)
            elif isinstance(step, Ends) and epoch is not None:
                epoch.end(step.cause, step.detail, interval_us=step.interval_us)
                epoch = None
    if epoch is not None:
        epoch.end("handover", "no more comes", interval_us=gate.interval_us)
    return queue


def _epoch(step: Starts, codec: Codec, outlets: Outlets, sound: SoundShape | None, number: int) -> Epoch:
    must(
        0 < step.shape.width * step.shape.height <= AREA_MOST,
        f"a picture of {step.shape.width} x {step.shape.height}",
    )
    track = None if sound is None else Soundtrack(sound)
    if track is not None:
        track.begin()
        track.hear(Sound(b"aac", (number * 16 + n) * 1024, number * 40_000 + 64_000 * n) for n in range(8))
    info = SourceInfo(codec=codec, sets=(), reader="fuzz")
    return Epoch(CAMERA, info, step, Cuts(), outlets, budget=Budget(), soundtrack=track)


def _pictures(codec: Codec, nals: list[bytes], *, is_late: bool) -> Iterator[Picture]:
    """A picture begins at each first slice, with what stands before it; every so many of them comes from another time."""
    held: list[bytes] = []
    pts = arrival_us = 0
    has_slice = False
    for nal in nals[: 4 * PICTURES_MOST]:
        begins = starts_picture(codec, nal)
        if begins and has_slice:
            yield Picture(tuple(held), pts, arrival_us)
            pts += 3600 * (1 + len(nal) % 3 - len(nal) % 2)
            arrival_us += 40_000 + (S * (len(nal) % 7) if is_late else 0)
            held = []
        has_slice = (has_slice and bool(held)) or begins
        held.append(nal)
    if held:
        yield Picture(tuple(held), pts, arrival_us)


def _look_at(one: Fragment) -> None:
    """The recorder takes the record; a clip can be made of it."""
    message = fragment_message(one, site="local")
    try:
        read = fragment(message.key, message.headers, message.value)
    except WireError as error:
        raise Found(f"a fragment of ours is refused: {error}") from error
    must(read == one, "a fragment is read otherwise than it was written")
    init = one.init
    track = mp4.video_track(init)
    (entry,) = mp4.fragments(one.media, track)
    must(len(entry.samples) == one.info.access_units, "pictures are missing in a fragment")
    clip = _clip(init, one.media, one.info.start_us)
    watched = Watched()
    watched.feed(init + clip)
    watched.finish()


def _clip(init: bytes, media: bytes, start_us: int) -> bytes:
    tracks = mp4.tracks(init)
    track = mp4.video_track(init)
    segment = IndexEntry(
        epoch=EPOCH, first_seq=0, last_seq=9, start_us=start_us, end_us=start_us + 2 * S,
        bytes=len(media), init_bytes=len(init), flags=1,
    )  # fmt: skip
    reading, laid, splitter = (
        placing.Reading(segment, track, sound_track(tracks)),
        placing.Placing(tracks, start_us),
        placing.Splitter(),
    )
    out: list[bytes] = []
    half = len(media) // 2
    for piece in (media[:half], media[half:]):
        for found in splitter.feed(piece):
            part = reading.part(found)
            cut = placing.shortened(
                part, part.at_us + ticks.to_us(part.entry.duration, track.timescale) // 2, track
            )
            out += [bytes(one) for part in (part, cut) if part is not None for one in laid.place(part)]
    splitter.finish()
    return b"".join(out)


def _read(data: bytes) -> None:
    """An object of the store, or bytes that say they are one."""
    with suppress(ValueError):
        init = mp4.init_of(data)
        placing.shape(init)
        placing.lasting(init, 10 * S)
        _clip(init, data[len(init) :], OFFSET_US)
    with suppress(ValueError):
        mp4.samples(data, mp4.video_track(data))
    watched = Watched()
    with suppress(Broken):
        for at in range(0, len(data), 100):
            watched.feed(data[at : at + 100])
        watched.finish(1.0)
    for codec in ("h264", "hevc"):
        with suppress(ValueError):
            annex_b(codec, data[1 : 1 + data[0] if data else 0], data[1:])
    with suppress(BadMessageError):
        lengths(data[:8].ljust(8, b"\0"))
        head_of(data[8:])
    with suppress(BitstreamError):
        sound_shape(data[:8], 16_000)


@lru_cache
def _made() -> tuple[bytes, ...]:
    """Fragments of ours, one with sound, as objects."""
    out: list[bytes] = []
    for settings, codec in ((0, "h264"), (HAS_SOUND, "h264"), (0, "hevc")):
        queue = _recorded(cast("Codec", codec), settings, split_annexb(_film(cast("Codec", codec))))
        out += [one.value for one in queue.fragments]
    return tuple(out)


def _film(codec: Codec, *, count: int = 6) -> bytes:
    sets = samples.B_FRAMES if codec == "h264" else samples.HEVC
    key, other = (samples.IDR, samples.SLICE) if codec == "h264" else (samples.IDR_HEVC, samples.SLICE_HEVC)
    nals = [*sets, key, *[other + bytes(n % 3) + b"\x80" for n in range(count)], *sets, key]
    return b"".join(b"\0\0\0\1" + nal for nal in nals)


def seeds() -> list[bytes]:
    recovery = b"\0\0\1\6\6\1\xc4\x80" + b"\0\0\1" + samples.SLICE
    every = [samples.BASELINE, samples.FULL_HD, samples.B_FRAMES, samples.YUV444, samples.INTERLACED_HRD]
    others = [
        b"\0" + b"".join(b"\0\0\1" + nal for nal in (*sets, samples.IDR, samples.SLICE)) for sets in every
    ]
    ten_bits = b"\1" + b"".join(
        b"\0\0\1" + nal for nal in (*samples.HEVC_10, samples.IDR_HEVC, samples.SLICE_HEVC)
    )
    films = [
        bytes((settings | kind,)) + _film("hevc" if kind else "h264")
        for settings in (0, HAS_SOUND, HAS_SETS, IS_LATE, IS_FULL)
        for kind in (0, IS_HEVC)
    ]
    changes = (
        b"\0"
        + _film("h264")
        + b"".join(b"\0\0\1" + nal for nal in (*samples.BASELINE, samples.IDR, samples.SLICE))
    )
    late = bytes((IS_LATE | IS_FULL,)) + _film("h264", count=40)
    return [
        *others,
        ten_bits,
        *films,
        changes,
        late,
        b"\0" + _film("h264") + recovery,
        *(bytes((IS_MP4,)) + one for one in _made()),
    ]


BITSTREAMS = Target(
    name="bitstreams",
    run=run,
    seeds=seeds,
    most=4096,
    words=(
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
