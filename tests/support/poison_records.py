"""For each topic a record that its readers can never process."""

import json
from dataclasses import replace

from districam_common.contract import names
from districam_common.contract.wire import Message
from districam_common.kafka.producer import Ack, Publisher
from districam_common.runtime.settings import KafkaSettings
from support import golden

KEY = "gate-1"


def _with_changed_fields(name: str, **fields: object) -> Message:
    good = golden.RECORDS[name]
    return replace(good, value=json.dumps(json.loads(good.value) | fields).encode())


def _without_header(name: str, header: str) -> Message:
    good = golden.RECORDS[name]
    return replace(good, headers=[(key, value) for key, value in good.headers if key != header])


POISON_BY_TOPIC = {
    names.CAMERAS: (_with_changed_fields("camera", segment_s=0), "Camera.segment_s: "),
    names.FRAGMENTS: (_without_header("fragment, first", "ce_epoch"), "header ce_epoch is missing"),
    names.KEYFRAMES: (_without_header("keyframe", "ce_seq"), "header ce_seq is missing"),
    names.SEGMENTS: (_with_changed_fields("stored", end_us="noon"), "SegmentStored.end_us: "),
    names.STREAMS: (_with_changed_fields("lost", at_us=-1), "Lost.at_us: "),
    names.RETENTION: (_with_changed_fields("expired", to_us="noon"), "FootageExpired.to_us: "),
}
"""By topic: the record, and the error its readers report."""


async def publish(kafka: KafkaSettings) -> dict[str, Ack]:
    """Publishes them all; returns their positions by topic."""
    async with Publisher.open(kafka, "tests") as publisher:
        return {topic: await publisher.publish(topic, message) for topic, (message, _) in POISON_BY_TOPIC.items()}
