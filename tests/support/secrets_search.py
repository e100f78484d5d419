"""Searches all outputs of the services for a password, in every encoding that it has on the way to a camera."""

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import httpx

from districam_common.kafka.consumer import TopicReader
from districam_common.kafka.records import Record
from districam_common.kafka.topics import declared_topics
from districam_common.runtime.settings import KafkaSettings, TopicsSettings
from districam_devkit.pipeline import Pipeline

TOPICS = tuple(topic.name for topic in declared_topics(TopicsSettings()))
SearchedContents = Mapping[str, bytes]
"""Contents to search, by location."""


def encoded_forms(user: str, password: str) -> list[bytes]:
    """The password as it is, escaped in JSON and Python, in URLs, and in an `Authorization` header."""
    plain = {password, quote(password, safe=""), quote(password), quote_plus(password)}
    escaped = {json.dumps(password)[1:-1], repr(password.encode())[2:-1], ascii(password)[1:-1]}
    out = {text.encode() for text in plain | escaped} | {password.encode("latin-1")}
    for pair in (f"{user}:{password}".encode(), f"{user}:{password}".encode("latin-1")):
        out |= {base64.b64encode(pair), base64.urlsafe_b64encode(pair)}
    return sorted(out)


def places_containing(places: SearchedContents, forms: list[bytes]) -> list[str]:
    """Locations that contain one of the forms."""
    return [place for place, content in places.items() if any(form in content for form in forms)]


def logs(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((home / "logs").iterdir())}


def command_lines() -> dict[str, bytes]:
    """Command line of every process of this machine."""
    return dict(_command_lines())


def _command_lines() -> Iterator[tuple[str, bytes]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield str(path), path.read_bytes().replace(b"\0", b" ")
        except OSError:  # it has ended
            continue


async def pages(pipeline: Pipeline, camera_ids: list[str]) -> dict[str, bytes]:
    """Metrics and health of the services, and the api's responses about the cameras."""
    urls = [
        f"{service.health_url}/{page}"
        for service in pipeline.services.values()
        for page in ("metrics", "readyz", "healthz")
    ]
    urls += [f"{pipeline.api_url}/v1/{path}" for path in ("cameras", "streams", "coverage")]
    urls += [f"{pipeline.api_url}/v1/cameras/{name}" for name in camera_ids]
    async with httpx.AsyncClient(timeout=10) as client:
        return {url: (await client.get(url)).content for url in urls}


async def records(kafka: KafkaSettings) -> list[Record]:
    """All records of all topics."""
    async with TopicReader.open(kafka, TOPICS) as reader:
        return await reader.read_all()


def contents(found: list[Record]) -> dict[str, bytes]:
    """Key, headers and value of each record."""
    return {
        f"{one.topic}/{one.partition}/{one.offset}": b"\n".join(
            [one.key or b"", *(name.encode() + b": " + (value or b"") for name, value in one.headers), one.value or b""]
        )
        for one in found
    }
