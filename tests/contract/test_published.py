"""docs/api describes the records of the code completely, and is current."""
# jsonschema's stubs leave the instance's type half unknown:
# pyright: reportUnknownMemberType=false

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from jsonschema import Draft202012Validator

from districam_common.contract import names, wire
from districam_common.contract.events import Camera, DeadLetter, FootageExpired, SegmentStored, StreamEvent
from districam_common.contract.media import Fragment, Still
from districam_devkit.published.__main__ import files
from districam_devkit.published.schemas import PUBLISHED
from support import golden
from support.contract_consumer import ContractConsumer, ContractViolation
from support.values import CAMERAS, DEAD_LETTERS, INSTANTS, STILLS, STORED_SEGMENTS, STREAM_EVENTS, fragments

FOLDER = Path(__file__).parents[2] / "docs" / "api"
DOCUMENT: dict[str, Any] = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text())
SCHEMAS: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("schemas/*.json")}
VALIDATORS = {name: Draft202012Validator(schema) for name, schema in SCHEMAS.items()}
OUTSIDER = ContractConsumer(DOCUMENT)


def test_docs_api_is_current() -> None:
    """If this fails, run `make api-docs` and commit the result."""
    found = {
        str(path.relative_to(FOLDER)): path.read_text()
        for path in [FOLDER / "asyncapi.yaml", *FOLDER.glob("schemas/*")]
    }
    wanted = files()
    assert found.keys() == wanted.keys(), "run `make api-docs`"
    assert [name for name in wanted if found[name] != wanted[name]] == [], "run `make api-docs`"


def _nodes(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, node
    if isinstance(node, dict):
        for name, child in cast("dict[str, Any]", node).items():
            yield from _nodes(child, f"{path}/{name}")
    elif isinstance(node, list):
        for number, child in enumerate(cast("list[Any]", node)):
            yield from _nodes(child, f"{path}/{number}")


def test_asyncapi_has_no_dangling_references() -> None:
    """Every `$ref` resolves inside the document."""
    references = [node for path, node in _nodes(DOCUMENT) if path.endswith("/$ref")]
    assert len(references) > 40
    paths = {path for path, _ in _nodes(DOCUMENT)}
    assert [reference for reference in references if reference.removeprefix("#") not in paths] == []


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_a_schema_is_json_schema_and_describes_every_field(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    objects = [schema, *schema.get("$defs", {}).values()]
    for one in objects:
        assert one["description"].endswith(".")
        assert [name for name, field in one["properties"].items() if not field.get("description")] == []
        for name, field in one["properties"].items():
            if name.endswith("_us"):
                assert "µs" in field["description"], name
    assert '"additionalProperties"' not in json.dumps(schema)


def test_every_header_is_described() -> None:
    for message in DOCUMENT["components"]["messages"].values():
        for name, header in message["headers"]["properties"].items():
            assert header["type"] == "string"
            assert len(header["description"]) > 5, name


def test_every_topic_and_record_type_is_described() -> None:
    found = {
        topic: {
            dict(golden.RECORDS[name].headers)["ce_type"].decode()
            for name in golden.TOPICS
            if golden.TOPICS[name] == topic
        }
        for topic in golden.TOPICS.values()
    }
    found[names.RETENTION] = {FootageExpired.type}
    assert {topic: set(kinds) for topic, kinds in OUTSIDER.topics.items()} == found
    assert set(SCHEMAS) == set(PUBLISHED)


@pytest.mark.parametrize("name", golden.RECORDS)
def test_golden_records_match_asyncapi(name: str) -> None:
    record = golden.RECORDS[name]
    OUTSIDER.check_record(golden.TOPICS[name], record.key, record.headers, record.value, decodes_media=False)


def _holds(topic: str, message: wire.Message) -> None:
    read = OUTSIDER.check_record(topic, message.key, message.headers, message.value, decodes_media=False)
    if read.value is not None:
        assert [error.message for error in VALIDATORS[read.message].iter_errors(read.value)] == []
        assert VALIDATORS[read.message].is_valid({**read.value, "added_later": [1]})


@given(CAMERAS)
def test_cameras_match_asyncapi(camera: Camera) -> None:
    _holds(names.CAMERAS, wire.camera_message(camera, site="local"))


@given(STORED_SEGMENTS)
def test_announcements_match_asyncapi(stored: SegmentStored) -> None:
    _holds(names.SEGMENTS, wire.stored_message(replace(stored, key=f"k{stored.key}"), site="local"))


@given(STREAM_EVENTS)
def test_events_match_asyncapi(event: StreamEvent) -> None:
    _holds(names.STREAMS, wire.event_message(event, 7, site="local", service="ingest"))


@given(INSTANTS, INSTANTS)
def test_expired_records_match_asyncapi(from_us: int, to_us: int) -> None:
    event = FootageExpired(
        camera_id="cam-1", at_us=to_us, instance="i", from_us=from_us, to_us=to_us, reason="over the budget"
    )
    _holds(names.RETENTION, wire.event_message(event, 7, site="local", service="indexer"))


@given(DEAD_LETTERS, INSTANTS)
def test_dead_letters_match_asyncapi(letter: DeadLetter, at_us: int) -> None:
    made = wire.deadletter_message(replace(letter, service="recorder"), site="local", at_us=at_us)
    _holds(names.DEADLETTERS, made)


@given(fragments())
def test_fragments_match_asyncapi(fragment: Fragment) -> None:
    _holds(names.FRAGMENTS, wire.fragment_message(fragment, site="local"))


@given(STILLS)
def test_stills_match_asyncapi(still: Still) -> None:
    _holds(names.KEYFRAMES, wire.still_message(still, site="local"))


@pytest.mark.parametrize("name", [name for name in golden.RECORDS if golden.TOPICS[name] != names.DEADLETTERS])
def test_a_record_on_another_topic_or_without_a_header_does_not_match(name: str) -> None:
    """Shows that the checks above can fail."""
    record = golden.RECORDS[name]
    with pytest.raises(ContractViolation, match="has no"):
        OUTSIDER.check_record(names.DEADLETTERS, record.key, record.headers, record.value)
    for missing in ("ce_id", "ce_time", "ce_subject", "content-type"):
        headers = [(key, value) for key, value in record.headers if key != missing]
        with pytest.raises(ContractViolation, match=missing):
            OUTSIDER.check_record(golden.TOPICS[name], record.key, headers, record.value)


@pytest.mark.parametrize("kind", [kind for kind in SCHEMAS if "at_us" in SCHEMAS[kind]["properties"]])
@pytest.mark.parametrize("at_us", [-1, 2**53, "noon", None])
def test_a_schema_rejects_what_the_decoder_rejects(kind: str, at_us: object) -> None:
    (record,) = [r for r in golden.RECORDS.values() if dict(r.headers)["ce_type"].decode() == kind]
    value = json.loads(record.value) | {"at_us": at_us}
    assert [error.json_path for error in VALIDATORS[kind].iter_errors(value)] == ["$.at_us"]
    with pytest.raises(wire.WireError, match="at_us"):
        wire.decode_event(record.key, record.headers, json.dumps(value).encode())
