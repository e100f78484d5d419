"""A consumer written from docs/api/asyncapi.yaml only; it imports nothing of districam."""
# aiokafka ships no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import asyncio
import io
import json
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import yaml
from aiokafka import AIOKafkaConsumer
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

Headers = list[tuple[str, bytes]]

_DEADLINE_S = 30


class ContractViolation(Exception):
    """The record violates the document's definition of its topic."""


@dataclass(frozen=True)
class CheckedRecord:
    """A record's type and content: a JSON object, or the size of a picture or a video."""

    topic: str
    message: str
    value: Any


@dataclass(frozen=True)
class TopicContents:
    """The topics' contents: valid records, and the positions (topic, partition, offset) of invalid ones."""

    valid: list[CheckedRecord]
    invalid_positions: set[tuple[str, int, int]]


class ContractConsumer:
    """Checks records against the document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._registry = cast("Registry[Any]", Registry()).with_resource("doc", DRAFT7.create_resource(document))
        self._validators: dict[str, Draft7Validator] = {}
        self.topics: dict[str, dict[str, str]] = {
            channel["address"]: {
                self._resolve(message["$ref"])["name"]: message["$ref"] for message in channel["messages"].values()
            }
            for channel in document["channels"].values()
        }
        """Address of each channel → its messages: `ce_type` → pointer to the definition."""

    @classmethod
    def from_file(cls, path: Path) -> "ContractConsumer":
        return cls(yaml.safe_load(path.read_text()))

    def _resolve(self, pointer: str) -> Any:
        found: Any = self._document
        for part in pointer.removeprefix("#/").split("/"):
            found = found[part]
        return found

    def _check(self, value: Any, pointer: str, what: str) -> None:
        if pointer not in self._validators:
            self._validators[pointer] = Draft7Validator({"$ref": f"doc{pointer}"}, registry=self._registry)
        errors = self._validators[pointer].iter_errors(value)
        if problems := [f"{what}: {error.json_path}: {error.message}" for error in errors]:
            raise ContractViolation("; ".join(problems))

    def check_record(
        self,
        topic: str,
        key: bytes | None,
        headers: Iterable[tuple[str, bytes]],
        value: bytes | None,
        *,
        decodes_media: bool = True,
    ) -> CheckedRecord:
        """Returns the checked record. Raises ContractViolation. `decodes_media`: decode the media too."""
        texts = {name: text.decode() for name, text in headers}
        kind = texts["ce_type"]
        if kind not in self.topics[topic]:
            raise ContractViolation(f"{topic} has no {kind}")
        pointer = self.topics[topic][kind]
        message = self._resolve(pointer)
        self._check(texts, f"{pointer}/headers", f"headers of {kind}")
        if unknown := texts.keys() - message["headers"]["properties"].keys():
            raise ContractViolation(f"{kind} has headers that the document does not describe: {sorted(unknown)}")
        self._check((key or b"").decode(), f"{pointer}/bindings/kafka/key", f"key of {kind}")
        if texts["content-type"] != message["contentType"]:
            raise ContractViolation(f"{kind} is {texts['content-type']}, not {message['contentType']}")
        if message["contentType"] != "application/json":
            return CheckedRecord(
                topic, kind, _decoded_size(value or b"", message["contentType"]) if decodes_media else None
            )
        decoded = json.loads(value or b"")
        self._check(decoded, f"{pointer}/payload", kind)
        return CheckedRecord(topic, kind, decoded)

    async def read_topics(self, bootstrap_servers: str, *, decode_media_keys: Container[bytes | None]) -> TopicContents:
        """Reads everything on the document's topics now; decodes the media of records with these keys."""
        consumer = AIOKafkaConsumer(
            *self.topics,
            bootstrap_servers=bootstrap_servers,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=9 << 20,
        )
        found = TopicContents([], set())
        async with asyncio.timeout(_DEADLINE_S), consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            assert {partition.topic for partition in ends} == set(self.topics)
            for partition, end in ends.items():
                while await consumer.position(partition) < end:
                    got = await consumer.getmany(partition, timeout_ms=500)
                    for record in got.get(partition, []):
                        try:
                            parts = (record.topic, record.key, record.headers, record.value)
                            found.valid.append(self.check_record(*parts, decodes_media=record.key in decode_media_keys))
                        except ContractViolation:
                            found.invalid_positions.add((record.topic, record.partition, record.offset))
        return found


def _decoded_size(value: bytes, content_type: str) -> tuple[int, int]:
    """Width and height of the first decoded picture."""
    form = {"video/mp4": "mp4", "image/jpeg": "jpeg_pipe"}[content_type]
    with av.open(io.BytesIO(value), "r", format=form) as container:
        stream = container.streams.video[0]
        for picture in container.decode(stream):
            return picture.width, picture.height
        return stream.width, stream.height  # a fragment that starts within a GOP
