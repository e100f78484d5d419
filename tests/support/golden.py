"""Golden values and bytes of every record of version 1; tests/contract/test_wire_golden.py explains their purpose."""

from collections.abc import Callable

from districam_common.contract import names, wire
from districam_common.contract.clock_probe import ClockProbe
from districam_common.contract.events import (
    Camera,
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
from districam_common.contract.wire import Message

EPOCH = "019abc4e-7a00-7123-8456-0123456789ab"
START_US = 1_795_531_620_123_456
APPENDED_US = START_US + 18_500_000
INIT = b"\0\0\0\x0cftypisom\0\0\0\x08moov"
KEY = "gate-1/2026-11-24/14/47-00.123456Z.019abc4e-7a00-7123-8456-0123456789ab.0-4.10000000.20.03.mp4"

FIRST = Fragment(
    FragmentInfo(
        camera_id="gate-1",
        epoch=EPOCH,
        seq=0,
        start_us=START_US,
        duration_us=2_000_000,
        init_length=20,
        is_keyframe=True,
        starts_segment=True,
        ends=None,
        access_units=50,
        codecs="avc1.640028",
        width=1920,
        height=1080,
    ),
    INIT + b"\0\0\0\x08moof\0\0\0\x08mdat",
)
LAST = Fragment(
    FragmentInfo(
        camera_id="gate-1",
        epoch=EPOCH,
        seq=4,
        start_us=START_US + 8_000_000,
        duration_us=2_000_000,
        init_length=20,
        is_keyframe=False,
        starts_segment=False,
        ends="epoch",
        access_units=49,
        codecs="avc1.640028",
        width=1920,
        height=1080,
        lost_packets=3,
        damaged=1,
        camera_start_us=START_US - 61_000_000,
    ),
    INIT + b"\0\0\0\x08moof\0\0\0\x08mdat",
)
STILL = Still(camera_id="gate-1", epoch=EPOCH, seq=0, at_us=START_US, width=640, height=360, jpeg=b"\xff\xd8\xff\xd9")
CAMERA = Camera(
    camera_id="gate-1",
    name="Cổng chính",
    url="rtsp://192.0.2.7:554/stream1",
    credential="gates",
    single_client=True,
    groups=("cổng", "quận-1"),
    location=Location(latitude=10.7757, longitude=106.7004, heading_deg=45.0, place="Đường Lê Lợi"),
    revision=3,
    updated_us=START_US,
)
STORED = SegmentStored(
    camera_id="gate-1",
    epoch=EPOCH,
    first_seq=0,
    last_seq=4,
    start_us=START_US,
    end_us=START_US + 10_000_000,
    bytes=2_500_000,
    init_bytes=20,
    access_units=249,
    lost_packets=3,
    damaged=1,
    codecs="avc1.640028",
    width=1920,
    height=1080,
    starts_with_keyframe=True,
    bucket="districam",
    key=KEY,
    sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
)
ENTRY = IndexEntry(
    epoch=EPOCH,
    first_seq=0,
    last_seq=4,
    start_us=START_US,
    end_us=START_US + 10_000_000,
    bytes=2_500_000,
    init_bytes=20,
    flags=3,
)
CONNECTED = Connected(
    camera_id="gate-1",
    at_us=START_US,
    instance="ingest-0-7f3a",
    epoch=EPOCH,
    reader="native",
    transport="tcp",
    codecs="avc1.640028",
    width=1920,
    height=1080,
    server="IPCamera/2.0",
)
LOST = Lost(
    camera_id="gate-1",
    at_us=START_US + 18_000_000,
    instance="ingest-0-7f3a",
    epoch=EPOCH,
    last_seq=4,
    end_us=START_US + 10_000_000,
    cause="source_silent",
    detail="no media for 8 s",
    next_retry_s=5.5,
)
EVENTS: dict[str, StreamEvent] = {
    "connected": CONNECTED,
    "lost": LOST,
    "refused": Refused(
        camera_id="gate-1",
        at_us=START_US,
        instance="ingest-0-7f3a",
        cause="auth_failed",
        detail="401",
        next_retry_s=60.0,
    ),
    "shed": Shed(
        camera_id="gate-1",
        at_us=START_US + 6_000_000,
        instance="ingest-0-7f3a",
        epoch=EPOCH,
        first_seq=1,
        last_seq=2,
        start_us=START_US + 2_000_000,
        end_us=START_US + 6_000_000,
        access_units=100,
        bytes=1_000_000,
        cause="shed_backpressure",
    ),
    "profile": Profile(
        camera_id="gate-1",
        at_us=START_US,
        instance="ingest-0-7f3a",
        codecs="avc1.640028",
        width=1920,
        height=1080,
        fps=25.0,
        gop_s=2.0,
        audio="pcm_mulaw",
        b_frames=True,
        defects=("no sender reports",),
        bits_per_s=2_500_000,
        lost_packets=3,
        jitter_s=0.0125,
        reports=False,
        clock_offset_s=-61.5,
        clock_drift_ppm=12.5,
        transport="udp",
        auth="digest",
        server="Rtsp Server/1.0",
    ),
    "clock": ClockStep(
        camera_id="gate-1", at_us=START_US, instance="ingest-0-7f3a", offset_us=-61_000_000, step_us=9_000_000
    ),
    "expired": FootageExpired(
        camera_id="gate-1",
        at_us=START_US,
        instance="indexer-0-11aa",
        from_us=0,
        to_us=START_US - 2_592_000_000_000,
        reason="retention",
    ),
    "fell": PartitionTruncated(
        partition=7,
        at_us=START_US,
        instance="recorder-0-22bb",
        from_us=START_US - 30_000_000_000,
        to_us=START_US - 20_000_000_000,
    ),
}
PROBE = ClockProbe(instance="ingest-0-7f3a", sent_us=START_US)
DEAD_LETTER = DeadLetter(
    topic="districam.fragments.v1",
    partition=7,
    offset=123,
    key="gate-1",
    reason="header ce_seq is missing or not UTF-8",
    service="recorder",
)


def _event(event: StreamEvent) -> Callable[[], Message]:
    return lambda: wire.event_message(event, 41, site="local", service="ingest")


MESSAGE_BUILDERS: dict[str, Callable[[], Message]] = {
    "fragment, first": lambda: wire.fragment_message(FIRST, site="local"),
    "fragment, last": lambda: wire.fragment_message(LAST, site="local"),
    "keyframe": lambda: wire.still_message(STILL, site="local"),
    "camera": lambda: wire.camera_message(CAMERA, site="local"),
    "stored": lambda: wire.stored_message(STORED, site="local"),
    "deadletter": lambda: wire.deadletter_message(DEAD_LETTER, site="local", at_us=START_US),
    "probe": lambda: wire.probe_message(PROBE, 41, site="local"),
} | {name: _event(event) for name, event in EVENTS.items()}

TOPICS = {
    **dict.fromkeys(("fragment, first", "fragment, last"), names.FRAGMENTS),
    "keyframe": names.KEYFRAMES,
    "camera": names.CAMERAS,
    "stored": names.SEGMENTS,
    "deadletter": names.DEADLETTERS,
    "probe": names.CLOCKS,
    **dict.fromkeys(EVENTS, names.STREAMS),
}
"""The topic that each record is published to."""

# ---- the bytes


RECORDS: dict[str, Message] = {
    "fragment, first": Message(
        b"gate-1",
        b"\x00\x00\x00\x0cftypisom\x00\x00\x00\x08moov\x00\x00\x00\x08moof\x00\x00\x00\x08mdat",
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"019abc4e-7a00-7123-8456-0123456789ab/0"),
            ("ce_source", b"/districam/local/ingest"),
            ("ce_type", b"districam.fragment.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:00.123456Z"),
            ("content-type", b"video/mp4"),
            ("ce_epoch", b"019abc4e-7a00-7123-8456-0123456789ab"),
            ("ce_seq", b"0"),
            ("ce_durationus", b"2000000"),
            ("ce_initlength", b"20"),
            ("ce_keyframe", b"true"),
            ("ce_starts", b"segment"),
            ("ce_accessunits", b"50"),
            ("ce_codecs", b"avc1.640028"),
            ("ce_width", b"1920"),
            ("ce_height", b"1080"),
        ],
    ),
    "fragment, last": Message(
        b"gate-1",
        b"\x00\x00\x00\x0cftypisom\x00\x00\x00\x08moov\x00\x00\x00\x08moof\x00\x00\x00\x08mdat",
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"019abc4e-7a00-7123-8456-0123456789ab/4"),
            ("ce_source", b"/districam/local/ingest"),
            ("ce_type", b"districam.fragment.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:08.123456Z"),
            ("content-type", b"video/mp4"),
            ("ce_epoch", b"019abc4e-7a00-7123-8456-0123456789ab"),
            ("ce_seq", b"4"),
            ("ce_durationus", b"2000000"),
            ("ce_initlength", b"20"),
            ("ce_keyframe", b"false"),
            ("ce_ends", b"epoch"),
            ("ce_accessunits", b"49"),
            ("ce_lostpackets", b"3"),
            ("ce_damaged", b"1"),
            ("ce_codecs", b"avc1.640028"),
            ("ce_width", b"1920"),
            ("ce_height", b"1080"),
            ("ce_cameratime", b"2026-11-24T14:45:59.123456Z"),
        ],
    ),
    "keyframe": Message(
        b"gate-1",
        b"\xff\xd8\xff\xd9",
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"019abc4e-7a00-7123-8456-0123456789ab/0"),
            ("ce_source", b"/districam/local/ingest"),
            ("ce_type", b"districam.keyframe.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:00.123456Z"),
            ("content-type", b"image/jpeg"),
            ("ce_epoch", b"019abc4e-7a00-7123-8456-0123456789ab"),
            ("ce_seq", b"0"),
            ("ce_width", b"640"),
            ("ce_height", b"360"),
        ],
    ),
    "camera": Message(
        b"gate-1",
        b'{"camera_id":"gate-1","name":"C\xe1\xbb\x95ng ch\xc3\xadnh","url":"rtsp://192.0.2.7:554/stream1","credential":"gates","transport":"tcp","reader":"auto","single_client":true,"enabled":true,"audio":true,"segment_s":10,"keyframe_interval_s":4,"retention_days":30,"groups":["c\xe1\xbb\x95ng","qu\xe1\xba\xadn-1"],"location":{"latitude":10.7757,"longitude":106.7004,"heading_deg":45.0,"place":"\xc4\x90\xc6\xb0\xe1\xbb\x9dng L\xc3\xaa L\xe1\xbb\xa3i"},"deleted":false,"revision":3,"updated_us":1795531620123456}',
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"gate-1/3"),
            ("ce_source", b"/districam/local/cameras"),
            ("ce_type", b"districam.camera.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:00.123456Z"),
            ("content-type", b"application/json"),
        ],
    ),
    "stored": Message(
        b"gate-1",
        b'{"camera_id":"gate-1","epoch":"019abc4e-7a00-7123-8456-0123456789ab","first_seq":0,"last_seq":4,"start_us":1795531620123456,"end_us":1795531630123456,"bytes":2500000,"init_bytes":20,"access_units":249,"lost_packets":3,"damaged":1,"codecs":"avc1.640028","width":1920,"height":1080,"starts_with_keyframe":true,"bucket":"districam","key":"gate-1/2026-11-24/14/47-00.123456Z.019abc4e-7a00-7123-8456-0123456789ab.0-4.10000000.20.03.mp4","sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","camera_start_us":null}',
        [
            ("ce_specversion", b"1.0"),
            (
                "ce_id",
                b"gate-1/2026-11-24/14/47-00.123456Z.019abc4e-7a00-7123-8456-0123456789ab.0-4.10000000.20.03.mp4",
            ),
            ("ce_source", b"/districam/local/recorder"),
            ("ce_type", b"districam.segment.stored.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:00.123456Z"),
            ("content-type", b"application/json"),
        ],
    ),
    "deadletter": Message(
        b"gate-1",
        b'{"topic":"districam.fragments.v1","partition":7,"offset":123,"key":"gate-1","reason":"header ce_seq is missing or not UTF-8","service":"recorder"}',
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"districam.fragments.v1/7/123"),
            ("ce_source", b"/districam/local/recorder"),
            ("ce_type", b"districam.deadletter.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:00.123456Z"),
            ("content-type", b"application/json"),
        ],
    ),
    "probe": Message(
        b"ingest-0-7f3a",
        b'{"instance":"ingest-0-7f3a","sent_us":1795531620123456}',
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"ingest-0-7f3a/clock/41"),
            ("ce_source", b"/districam/local/ingest"),
            ("ce_type", b"districam.clock.probe.v1"),
            ("ce_subject", b"ingest-0-7f3a"),
            ("ce_time", b"2026-11-24T14:47:00.123456Z"),
            ("content-type", b"application/json"),
        ],
    ),
    "connected": Message(
        b"gate-1",
        b'{"camera_id":"gate-1","at_us":1795531620123456,"instance":"ingest-0-7f3a","epoch":"019abc4e-7a00-7123-8456-0123456789ab","reader":"native","transport":"tcp","codecs":"avc1.640028","width":1920,"height":1080,"server":"IPCamera/2.0","repeated":false}',
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"ingest-0-7f3a/41"),
            ("ce_source", b"/districam/local/ingest"),
            ("ce_type", b"districam.stream.connected.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:00.123456Z"),
            ("content-type", b"application/json"),
        ],
    ),
    "lost": Message(
        b"gate-1",
        b'{"camera_id":"gate-1","at_us":1795531638123456,"instance":"ingest-0-7f3a","epoch":"019abc4e-7a00-7123-8456-0123456789ab","last_seq":4,"end_us":1795531630123456,"cause":"source_silent","detail":"no media for 8 s","next_retry_s":5.5,"interrupted":false}',
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"ingest-0-7f3a/41"),
            ("ce_source", b"/districam/local/ingest"),
            ("ce_type", b"districam.stream.lost.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:18.123456Z"),
            ("content-type", b"application/json"),
        ],
    ),
    "refused": Message(
        b"gate-1",
        b'{"camera_id":"gate-1","at_us":1795531620123456,"instance":"ingest-0-7f3a","cause":"auth_failed","detail":"401","next_retry_s":60.0}',
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"ingest-0-7f3a/41"),
            ("ce_source", b"/districam/local/ingest"),
            ("ce_type", b"districam.stream.refused.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:00.123456Z"),
            ("content-type", b"application/json"),
        ],
    ),
    "shed": Message(
        b"gate-1",
        b'{"camera_id":"gate-1","at_us":1795531626123456,"instance":"ingest-0-7f3a","epoch":"019abc4e-7a00-7123-8456-0123456789ab","first_seq":1,"last_seq":2,"start_us":1795531622123456,"end_us":1795531626123456,"access_units":100,"bytes":1000000,"cause":"shed_backpressure"}',
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"ingest-0-7f3a/41"),
            ("ce_source", b"/districam/local/ingest"),
            ("ce_type", b"districam.stream.shed.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:06.123456Z"),
            ("content-type", b"application/json"),
        ],
    ),
    "profile": Message(
        b"gate-1",
        b'{"camera_id":"gate-1","at_us":1795531620123456,"instance":"ingest-0-7f3a","codecs":"avc1.640028","width":1920,"height":1080,"fps":25.0,"gop_s":2.0,"audio":"pcm_mulaw","b_frames":true,"defects":["no sender reports"],"bits_per_s":2500000,"lost_packets":3,"jitter_s":0.0125,"reports":false,"clock_offset_s":-61.5,"clock_drift_ppm":12.5,"transport":"udp","auth":"digest","server":"Rtsp Server/1.0"}',
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"ingest-0-7f3a/41"),
            ("ce_source", b"/districam/local/ingest"),
            ("ce_type", b"districam.stream.profile.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:00.123456Z"),
            ("content-type", b"application/json"),
        ],
    ),
    "clock": Message(
        b"gate-1",
        b'{"camera_id":"gate-1","at_us":1795531620123456,"instance":"ingest-0-7f3a","offset_us":-61000000,"step_us":9000000}',
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"ingest-0-7f3a/41"),
            ("ce_source", b"/districam/local/ingest"),
            ("ce_type", b"districam.stream.clock.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:00.123456Z"),
            ("content-type", b"application/json"),
        ],
    ),
    "expired": Message(
        b"gate-1",
        b'{"camera_id":"gate-1","at_us":1795531620123456,"instance":"indexer-0-11aa","from_us":0,"to_us":1792939620123456,"reason":"retention"}',
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"indexer-0-11aa/41"),
            ("ce_source", b"/districam/local/ingest"),
            ("ce_type", b"districam.footage.expired.v1"),
            ("ce_subject", b"gate-1"),
            ("ce_time", b"2026-11-24T14:47:00.123456Z"),
            ("content-type", b"application/json"),
        ],
    ),
    "fell": Message(
        b"7",
        b'{"partition":7,"at_us":1795531620123456,"instance":"recorder-0-22bb","from_us":1795501620123456,"to_us":1795511620123456}',
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"recorder-0-22bb/41"),
            ("ce_source", b"/districam/local/ingest"),
            ("ce_type", b"districam.partition.fell.v1"),
            ("ce_subject", b"7"),
            ("ce_time", b"2026-11-24T14:47:00.123456Z"),
            ("content-type", b"application/json"),
        ],
    ),
}
MEMBER = (
    b"\x01\x9a\xbcNz\x00q#\x84V\x01#Eg\x89\xab\x00\x00\x00\x00\x00\x00\x00\x04\x00\x98\x96\x80\x00&%\xa0\x00\x14\x03"
)
INDEXED = b'{"type":"districam.stream.lost.v1","camera_id":"gate-1","at_us":1795531638123456,"instance":"ingest-0-7f3a","epoch":"019abc4e-7a00-7123-8456-0123456789ab","last_seq":4,"end_us":1795531630123456,"cause":"source_silent","detail":"no media for 8 s","next_retry_s":5.5,"interrupted":false,"appended_us":1795531638623456}'
INDEXED_BEFORE = b'{"type":"districam.stream.lost.v1","camera_id":"gate-1","at_us":1795531638123456,"instance":"ingest-0-7f3a","epoch":"019abc4e-7a00-7123-8456-0123456789ab","last_seq":4,"end_us":1795531630123456,"cause":"source_silent","detail":"no media for 8 s","next_retry_s":5.5,"appended_us":1795531638623456}'
CONNECTED_BEFORE = b'{"camera_id":"gate-1","at_us":1795531620123456,"instance":"ingest-0-7f3a","epoch":"019abc4e-7a00-7123-8456-0123456789ab","reader":"native","transport":"tcp","codecs":"avc1.640028","width":1920,"height":1080,"server":"IPCamera/2.0"}'
"""As sent by versions that did not mark repeats."""
