"""Generates the self-contained AsyncAPI 3 document: channels, messages, bindings, schemas."""

from dataclasses import dataclass, replace
from typing import Any, get_args

from districam_common.contract import names, wire
from districam_common.contract.clock_probe import ClockProbe
from districam_common.contract.events import (
    STREAM_EVENTS,
    Camera,
    DeadLetter,
    FootageExpired,
    PartitionTruncated,
    SegmentStored,
)
from districam_common.contract.media import FragmentInfo, Still
from districam_common.kafka.topics import Topic, declared_topics
from districam_common.runtime.settings import TopicsSettings
from districam_devkit.published import headers as of_headers
from districam_devkit.published.schemas import PUBLISHED, Schema, schema_of, summary_of

_BINDING = "0.5.0"
"""Version of the AsyncAPI Kafka bindings."""
_SCHEMAS = "#/components/schemas/{model}"
_ABOUT = """\
What districam writes to Kafka, for other systems to read.

Each record is a CloudEvent 1.0 in Kafka's binary content mode: the attributes are headers, whose values are UTF-8 text,
and the value is the payload of the stated content type. A `video/mp4` value can be played by itself, so no districam
library is needed.

Records may be repeated; duplicates have the same `ce_id`. Ignore unknown headers and fields: additions do not raise the
version. Any other change comes as a new topic, `….v2`.

Names that end in `_us` are whole microseconds since 1970, UTC. Every interval is half-open.

Partitions and retention are the defaults; each is a setting of the site.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """One kind of record."""

    type: str
    title: str
    summary: str
    payload: Schema
    headers: Schema
    key: Schema
    content_type: str = "application/json"

    @property
    def name(self) -> str:
        return self.type.removeprefix("districam.").removesuffix(".v1").replace(".", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Channel:
    """A topic: its purpose, its writers and its messages."""

    topic: str
    title: str
    description: str
    senders: str
    messages: tuple[_Message, ...]

    @property
    def name(self) -> str:
        return self.topic.removeprefix("districam.").removesuffix(".v1")


def document() -> dict[str, Any]:
    """Returns the document as plain values."""
    channels = _channels()
    topics = {topic.name: topic for topic in declared_topics(TopicsSettings())}
    messages = {message.name: _message(message) for channel in channels for message in channel.messages}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "districam", "version": "1.0.0", "description": _ABOUT, "license": {"name": "Apache-2.0"}},
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": "localhost:9092", "protocol": "kafka", "description": "The site's brokers."}},
        "channels": {channel.name: _channel(channel, topics[channel.topic]) for channel in channels},
        "operations": {f"send-{channel.name}": _operation(channel) for channel in channels},
        "components": {"messages": messages, "schemas": _schemas()},
    }


# ---- channels and messages


def _channels() -> tuple[_Channel, ...]:
    return (*_footage_channels(), *_event_channels(), *_operations_channels())


def _footage_channels() -> tuple[_Channel, ...]:
    return (
        _Channel(
            topic=names.CAMERAS,
            title="Cameras",
            description="Every revision of every camera, kept for ever: read from the start; the last record of a key "
            "applies.",
            senders="districam-cameras",
            messages=(_camera(),),
        ),
        _Channel(
            topic=names.FRAGMENTS,
            title="Video",
            description="All video, seconds after it was taken, in fragments of 2 s at most, each playable by itself. "
            "A missing `ce_seq` in an epoch is a loss; a new epoch is an interruption of the stream.",
            senders="ingest",
            messages=(_fragment(),),
        ),
        _Channel(
            topic=names.KEYFRAMES,
            title="Pictures",
            description="Stills, at most one for each `keyframe_interval_s` of a camera; some may be skipped.",
            senders="ingest",
            messages=(_still_message(),),
        ),
        _Channel(
            topic=names.SEGMENTS,
            title="Stored segments",
            description="Stored footage, one record for each object in the bucket. Records may be repeated, and come in any order.",
            senders="recorder",
            messages=(_segment_stored_message(),),
        ),
    )


def _event_channels() -> tuple[_Channel, ...]:
    return (
        _Channel(
            topic=names.STREAMS,
            title="Stream events",
            description="What happened to each stream: the cause of whatever is not stored. The current event is "
            "repeated. Sites of earlier versions wrote `districam.footage.expired.v1` here, before it had its own topic.",
            senders="ingest, recorder",
            messages=tuple(_event(kind) for kind in STREAM_EVENTS.values()),
        ),
        _Channel(
            topic=names.RETENTION,
            title="Retention",
            description="Footage that retention has expired: it is deleted, or soon will be. Repeated daily.",
            senders="indexer",
            messages=(_event(FootageExpired),),
        ),
    )


def _operations_channels() -> tuple[_Channel, ...]:
    return (
        _Channel(
            topic=names.DEADLETTERS,
            title="Dead letters",
            description="Records that can never be processed: their position and the reason, never their payload.",
            senders="recorder, indexer",
            messages=(_deadletter(),),
        ),
        _Channel(
            topic=names.CLOCKS,
            title="Clocks",
            description="Probes by which ingest's hosts read the brokers' clocks, from the records' append times.",
            senders="ingest",
            messages=(_probe(),),
        ),
    )


def _fragment() -> _Message:
    common = of_headers.headers_of(
        wire.FRAGMENT_TYPE,
        content_type="video/mp4",
        service="ingest",
        event_id="`{epoch}/{seq}`.",
        time="Start of the first access unit on our clock.",
        subject="The camera.",
    )
    return _Message(
        type=wire.FRAGMENT_TYPE,
        title="Fragment",
        summary=summary_of(FragmentInfo),
        payload={
            "description": "`ftyp` and `moov` (`ce_initlength` bytes, the same in the whole epoch), then one `moof` "
            "and one `mdat` (ISO/IEC 14496-12).",
            "type": "string",
            "format": "binary",
        },
        headers=of_headers.fragment_headers(common),
        key=of_headers.CAMERA_KEY,
        content_type="video/mp4",
    )


def _still_message() -> _Message:
    common = of_headers.headers_of(
        wire.KEYFRAME_TYPE,
        content_type="image/jpeg",
        service="ingest",
        event_id="`{epoch}/{seq}`.",
        time="The picture's instant on our clock.",
        subject="The camera.",
    )
    return _Message(
        type=wire.KEYFRAME_TYPE,
        title="Keyframe",
        summary=summary_of(Still),
        payload={"description": "A JPEG.", "type": "string", "format": "binary"},
        headers=of_headers.still_headers(common),
        key=of_headers.CAMERA_KEY,
        content_type="image/jpeg",
    )


def _json(kind: type[Any], *, service: str, event_id: str, time: str, subject: str = "The camera.") -> _Message:
    return _Message(
        type=kind.type,
        title=kind.__name__,
        summary=summary_of(kind),
        payload={"$ref": _SCHEMAS.format(model=kind.__name__)},
        headers=of_headers.headers_of(
            kind.type, content_type="application/json", service=service, event_id=event_id, time=time, subject=subject
        ),
        key=of_headers.CAMERA_KEY,
    )


def _camera() -> _Message:
    return _json(Camera, service="cameras", event_id="`{camera_id}/{revision}`.", time="`updated_us`.")


def _segment_stored_message() -> _Message:
    return _json(SegmentStored, service="recorder", event_id="The object's key.", time="`start_us`.")


def _event(kind: type[Any]) -> _Message:
    services = f"({'|'.join(get_args(wire.EventSender))})"
    made = _json(kind, service=services, event_id="`{instance}/{counter}`.", time="`at_us`.")
    if kind is not PartitionTruncated:
        return made
    return replace(
        _json(
            kind,
            service=services,
            event_id="`{instance}/{counter}`.",
            time="`at_us`.",
            subject="The partition's number.",
        ),
        key=of_headers.PARTITION_KEY,
    )


def _deadletter() -> _Message:
    made = _json(
        DeadLetter,
        service="[a-z]+",
        event_id="`{topic}/{partition}/{offset}` of the dead record.",
        time="When it was found.",
        subject="The dead record's key.",
    )
    return replace(made, key=of_headers.ANY_KEY)


def _probe() -> _Message:
    made = _json(
        ClockProbe,
        service="ingest",
        event_id="`{instance}/clock/{counter}`.",
        time="`sent_us`.",
        subject="The process that sends the probe.",
    )
    return replace(made, key=of_headers.INSTANCE_KEY)


# ---- rendering


def _channel(channel: _Channel, topic: Topic) -> Schema:
    return {
        "address": channel.topic,
        "title": channel.title,
        "description": channel.description,
        "messages": {message.name: {"$ref": f"#/components/messages/{message.name}"} for message in channel.messages},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "replicas": topic.replication_factor,
                "topicConfiguration": _configuration(topic),
                "bindingVersion": _BINDING,
            }
        },
    }


def _configuration(topic: Topic) -> dict[str, Any]:
    """The topic's settings; the binding types some of them as numbers or lists."""
    out: dict[str, Any] = {}
    for name, value in topic.configs.items():
        if name == "cleanup.policy":
            out[name] = value.split(",")
        else:
            out[name] = int(value) if value.lstrip("-").isdigit() else value
    return out


def _operation(channel: _Channel) -> Schema:
    return {
        "action": "send",
        "summary": f"Written by {channel.senders}; read by any consumer.",
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{message.name}"} for message in channel.messages],
    }


def _message(message: _Message) -> Schema:
    return {
        "name": message.type,
        "title": message.title,
        "summary": message.summary,
        "contentType": message.content_type,
        "headers": message.headers,
        "payload": message.payload,
        "bindings": {"kafka": {"key": message.key, "bindingVersion": _BINDING}},
    }


def _schemas() -> dict[str, Schema]:
    out: dict[str, Schema] = {}
    for kind in PUBLISHED.values():
        schema, nested = schema_of(kind, refs=_SCHEMAS)
        out |= {kind.__name__: schema, **nested}
    return out
