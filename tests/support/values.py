"""Hypothesis strategies for values of the contract, within the limits of their fields."""

import uuid

from hypothesis import strategies as st

from districam_common.contract.events import (
    Camera,
    Cause,
    ClockStep,
    Connected,
    DeadLetter,
    FootageExpired,
    Location,
    Lost,
    PartitionTruncated,
    Profile,
    Refused,
    SegmentStored,
    Shed,
    StreamEvent,
)
from districam_common.contract.media import Fragment, FragmentInfo, Still
from districam_common.contract.segment_array import IndexEntry

INSTANTS = st.integers(0, 4_102_444_800_000_000)  # 1970 to 2100
COUNTS = st.integers(0, 2**31 - 1)
CAMERA_IDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
EPOCHS = st.integers(0, 2**128 - 1).map(lambda n: str(uuid.UUID(int=n)))
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
CODECS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)
SECONDS = st.floats(0, 1e9, exclude_max=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
CAUSES = st.sampled_from(Cause.__args__)


@st.composite
def index_entries(draw: st.DrawFn) -> IndexEntry:
    first_seq, start_us = draw(st.integers(0, 2**31 - 1)), draw(INSTANTS)
    return IndexEntry(
        epoch=draw(EPOCHS),
        first_seq=first_seq,
        last_seq=draw(st.integers(first_seq, 2**31 - 1)),
        start_us=start_us,
        end_us=start_us + draw(st.integers(0, 2**32 - 1)),
        bytes=draw(st.integers(0, 2**32 - 1)),
        init_bytes=draw(st.integers(0, 2**16 - 1)),
        flags=draw(st.integers(0, 3)),
    )


@st.composite
def fragments(draw: st.DrawFn) -> Fragment:
    head = b"\0\0\0\x08ftyp" + draw(st.binary(max_size=40))
    info = draw(
        st.builds(
            FragmentInfo,
            camera_id=CAMERA_IDS,
            epoch=EPOCHS,
            seq=COUNTS,
            start_us=INSTANTS,
            duration_us=st.integers(0, 2**32 - 1),
            init_length=st.just(len(head)),
            is_keyframe=st.booleans(),
            starts_segment=st.booleans(),
            ends=st.sampled_from([None, "segment", "epoch"]),
            access_units=COUNTS,
            codecs=CODECS,
            width=COUNTS,
            height=COUNTS,
            lost_packets=COUNTS,
            damaged=COUNTS,
            camera_start_us=st.none() | INSTANTS,
        )
    )
    return Fragment(info, head + b"\0\0\0\x08moof" + draw(st.binary(max_size=40)))


STILLS = st.builds(
    Still,
    camera_id=CAMERA_IDS,
    epoch=EPOCHS,
    seq=COUNTS,
    at_us=INSTANTS,
    width=COUNTS,
    height=COUNTS,
    jpeg=st.binary(max_size=40).map(lambda rest: b"\xff\xd8" + rest),
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)
CREDENTIALS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
URLS = st.from_regex(r"rtsps?://[a-z0-9]{1,9}(:[1-9][0-9]{0,3})?/[a-z0-9/?&=.-]{0,20}", fullmatch=True)
LOCATIONS = st.builds(
    Location,
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    heading_deg=st.none() | st.floats(0, 360),
    place=st.none() | NAMES,
)
CAMERAS = st.builds(
    Camera,
    camera_id=CAMERA_IDS,
    name=NAMES,
    url=URLS,
    credential=st.none() | CREDENTIALS,
    transport=st.sampled_from(["tcp", "udp"]),
    reader=st.sampled_from(["auto", "native", "ffmpeg"]),
    single_client=st.booleans(),
    enabled=st.booleans(),
    audio=st.booleans(),
    groups=st.lists(NAMES, max_size=3).map(tuple),
    location=st.none() | LOCATIONS,
    deleted=st.booleans(),
    revision=st.integers(1, 2**31 - 1),
    updated_us=INSTANTS,
)
STORED_SEGMENTS = st.builds(
    SegmentStored,
    camera_id=CAMERA_IDS,
    epoch=EPOCHS,
    first_seq=COUNTS,
    last_seq=COUNTS,
    start_us=INSTANTS,
    end_us=INSTANTS,
    bytes=COUNTS,
    init_bytes=COUNTS,
    access_units=COUNTS,
    lost_packets=COUNTS,
    damaged=COUNTS,
    codecs=TEXTS,
    width=COUNTS,
    height=COUNTS,
    starts_with_keyframe=st.booleans(),
    bucket=TEXTS,
    key=TEXTS,
    sha256=TEXTS,
    camera_start_us=st.none() | INSTANTS,
)
DEAD_LETTERS = st.builds(
    DeadLetter, topic=TEXTS, partition=COUNTS, offset=COUNTS, key=TEXTS, reason=TEXTS, service=TEXTS
)

_EVENT_IDENTITY = {"camera_id": CAMERA_IDS, "at_us": INSTANTS, "instance": TEXTS}
_EVENT_CAUSE = {"cause": CAUSES, "detail": TEXTS, "next_retry_s": SECONDS}
STREAM_EVENTS: st.SearchStrategy[StreamEvent] = st.one_of(
    st.builds(
        Connected,
        **_EVENT_IDENTITY,
        epoch=EPOCHS,
        reader=TEXTS,
        transport=TEXTS,
        codecs=TEXTS,
        width=COUNTS,
        height=COUNTS,
        server=st.none() | TEXTS,
    ),
    st.builds(
        Lost,
        **_EVENT_IDENTITY,
        **_EVENT_CAUSE,
        epoch=EPOCHS,
        last_seq=COUNTS,
        end_us=INSTANTS,
        interrupted=st.booleans(),
    ),
    st.builds(Refused, **_EVENT_IDENTITY, **_EVENT_CAUSE),
    st.builds(
        Shed,
        **_EVENT_IDENTITY,
        epoch=EPOCHS,
        first_seq=COUNTS,
        last_seq=COUNTS,
        start_us=INSTANTS,
        end_us=INSTANTS,
        access_units=COUNTS,
        bytes=COUNTS,
        cause=CAUSES,
    ),
    st.builds(
        Profile,
        **_EVENT_IDENTITY,
        codecs=TEXTS,
        width=COUNTS,
        height=COUNTS,
        fps=st.none() | FINITE,
        gop_s=st.none() | FINITE,
        audio=st.none() | TEXTS,
        b_frames=st.booleans(),
        defects=st.lists(TEXTS, max_size=3).map(tuple),
    ),
    st.builds(ClockStep, **_EVENT_IDENTITY, offset_us=st.integers(-(2**62), 2**62), step_us=COUNTS),
    st.builds(FootageExpired, **_EVENT_IDENTITY, from_us=INSTANTS, to_us=INSTANTS, reason=TEXTS),
    st.builds(PartitionTruncated, partition=COUNTS, at_us=INSTANTS, instance=TEXTS, from_us=INSTANTS, to_us=INSTANTS),
)
