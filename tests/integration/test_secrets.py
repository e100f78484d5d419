"""Cameras with right and wrong passwords, with both readers: no output of any service contains a password."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from districam_common.contract import names
from districam_common.contract.wire import Message
from districam_common.kafka.producer import Publisher
from districam_devkit.pipeline import Pipeline, prepare, run_command, services_running
from districam_devkit.servers import Servers, ServerUnavailable, all_running
from districam_devkit.servers.ports import pick_free_ports
from districam_devkit.simcam import Credentials, Generated, SimCamera, certificate, running
from integration.conftest import kafka_settings, running_in_thread
from support.secrets_search import (
    SearchedContents,
    command_lines,
    contents,
    encoded_forms,
    logs,
    pages,
    places_containing,
    records,
)

USER, PASSWORD, WRONG = "operator", "p@ss/wörd:1+ 2", "wr@ng/wörd:9+ 8"
SOUGHT = [*encoded_forms(USER, PASSWORD), *encoded_forms(USER, WRONG)]
CLIP = Generated(width=160, height=96, fps=10, seconds=2, gop_s=1, bitrate=60_000, label="x")
READERS = ("native", "ffmpeg")
GOOD = [f"{way}-{reader}" for way in ("digest", "basic", "rtsps") for reader in READERS]
BAD = {
    f"{way}-{reader}": cause
    for way, cause in (("wrong", "auth_failed"), ("gone", "camera_unreachable"), ("absent", "not_found"))
    for reader in READERS
}
SETTINGS = {"DISTRICAM_LOG__LEVEL": "debug", "DISTRICAM_INGEST__LINGER_S": "0", "DISTRICAM_INGEST__RETRY_MOST_S": "1"}
SHOWN_S, POLL_S = 60.0, 0.25

pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True)
class Outputs:
    """All searched outputs of the services, with the stream events among them."""

    places: dict[str, SearchedContents]
    events: list[tuple[str, dict[str, Any]]]
    refused: str
    """Output of a command for a URL with a password."""

    def of(self, camera_id: str, kind: str) -> list[dict[str, Any]]:
        return [event for name, event in self.events if (event["camera_id"], name) == (camera_id, kind)]


@asynccontextmanager
async def _run_services(home: Path) -> AsyncGenerator[Outputs]:
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(all_running(home))
        await prepare(servers)
        urls = await _cameras(stack, home)
        secrets = home / "credentials.yaml"
        secrets.write_text(yaml.safe_dump({name: _entry(name) for name in urls}, allow_unicode=True))
        settings = {**SETTINGS, "DISTRICAM_INGEST__CREDENTIALS_FILE": str(secrets)}
        pipeline = await stack.enter_async_context(services_running(home, servers, environment=settings))
        await _publish(home, servers, urls)
        seen: dict[str, bytes] = {}
        await _shown(pipeline, seen)
        secrets.write_text(f"wrong-native: {PASSWORD}\n: {WRONG}")  # not a valid credentials file
        await asyncio.sleep(3)
        served_pages = await pages(pipeline, [*urls])
        await pipeline["ingest"].child.stop()
        found = await records(kafka_settings(servers.kafka.bootstrap_servers))
        events = [
            (dict(one.headers)["ce_type"] or b"", one.value or b"") for one in found if one.topic == names.STREAMS
        ]
        refused = await _refused(home, servers)
        places: dict[str, SearchedContents] = {
            "logs": logs(home),
            "pages": served_pages,
            "records": contents(found),
            "command lines": seen,
            "commands": {"a URL with a password": refused.encode()},
        }
        await _plant(home, servers, places)
        yield Outputs(places, [(name.decode().split(".")[-2], json.loads(value)) for name, value in events], refused)


async def _cameras(stack: AsyncExitStack, home: Path) -> dict[str, str]:
    """Starts a simulation for each authentication scheme; returns the URLs."""
    certified = certificate.create_self_signed(home, "127.0.0.1")
    [nobody] = pick_free_ports(1)
    urls = {f"gone-{reader}": f"rtsp://127.0.0.1:{nobody}/x" for reader in READERS}
    for scheme in ("digest", "basic"):
        owner = Credentials(USER, PASSWORD, schemes=(scheme,), algorithm="MD5")
        cameras = [SimCamera(f"{way}-{reader}", CLIP) for way in (scheme, "rtsps", "wrong") for reader in READERS]
        simulation = await stack.enter_async_context(
            running(cameras, credentials=owner, cache=Path(".devkit/clips"), certificate_path=certified)
        )
        for reader in READERS:
            urls[f"{scheme}-{reader}"] = simulation.url(f"{scheme}-{reader}")
            urls[f"rtsps-{reader}"] = simulation.secure_url(f"rtsps-{reader}")
            urls[f"wrong-{reader}"] = simulation.url(f"wrong-{reader}")
            urls[f"absent-{reader}"] = f"rtsp://127.0.0.1:{simulation.port}/absent"
    return urls


def _entry(camera_id: str) -> dict[str, str]:
    return {"username": USER, "password": WRONG if camera_id.startswith("wrong") else PASSWORD}


async def _publish(home: Path, servers: Servers, urls: dict[str, str]) -> None:
    file = home / "cameras.yaml"
    rows = [
        {
            "camera_id": name,
            "name": name,
            "url": url,
            "credential": name,
            "reader": name.partition("-")[2],
            "segment_s": 4,
        }
        for name, url in urls.items()
    ]
    file.write_text(json.dumps({"cameras": rows}))
    arguments = ("apply", "-f", str(file))
    await run_command("districam_common.admin.cameras", *arguments, environment=servers.environment())


async def _shown(pipeline: Pipeline, seen: dict[str, bytes]) -> None:
    """Waits until every camera is recorded or was refused more than once; searches command lines meanwhile."""
    async with asyncio.timeout(SHOWN_S):
        while True:
            seen |= await asyncio.to_thread(command_lines)
            connected = await pipeline["ingest"].metric("districam_ingest_connected")
            refused = await pipeline["ingest"].metric("districam_ingest_reconnects_total")
            often = [label for label, count in refused.items() if count > 1]
            if sum(connected.values()) == len(GOOD) and len(often) >= len(BAD):
                return
            await asyncio.sleep(POLL_S)


async def _refused(home: Path, servers: Servers) -> str:
    file = home / "cameras-with-password.yaml"
    url = f"rtsp://{USER}:{PASSWORD.replace('/', '%2F').replace(' ', '%20')}@127.0.0.1/x"
    file.write_text(json.dumps({"cameras": [{"camera_id": "x", "name": "x", "url": url}]}))
    try:
        return await run_command(
            "districam_common.admin.cameras", *("apply", "-f", str(file)), environment=servers.environment()
        )
    except ServerUnavailable as error:
        return str(error)


async def _plant(home: Path, servers: Servers, places: dict[str, SearchedContents]) -> None:
    """Plants the password in forbidden places after the search, and searches again."""
    (home / "logs" / "planted.log").write_text(f'{{"why": {json.dumps(f"rtsp://{USER}:{PASSWORD}@x/")}}}')
    places["planted: logs"] = logs(home)
    kafka = kafka_settings(servers.kafka.bootstrap_servers)
    async with Publisher.open(kafka, "planting") as publisher:
        value = Message(key=b"x", headers=[], value=encoded_forms(USER, PASSWORD)[0])
        header = Message(key=b"x", headers=[("ce_note", WRONG.encode())], value=b"")
        for message in (value, header):
            await publisher.publish(names.DEADLETTERS, message)
    places["planted: records"] = contents(await records(kafka))
    program = [sys.executable, "-c", "print(flush=True); input()", PASSWORD]
    child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()  # /proc shows arguments only once the program runs
        places["planted: command lines"] = command_lines()
    finally:
        child.communicate(b"\n", timeout=10)


@pytest.fixture(scope="module")
def outputs() -> Generator[Outputs]:
    with TemporaryDirectory(prefix="districam-") as home, running_in_thread(lambda: _run_services(Path(home))) as value:
        yield value


@pytest.mark.parametrize("place", ["logs", "pages", "records", "command lines", "commands"])
def test_no_password_is_anywhere(outputs: Outputs, place: str) -> None:
    assert outputs.places[place]
    assert places_containing(outputs.places[place], SOUGHT) == []


@pytest.mark.parametrize(("place", "count"), [("logs", 1), ("records", 2), ("command lines", 1)])
def test_a_planted_password_is_found(outputs: Outputs, place: str, count: int) -> None:
    assert len(places_containing(outputs.places[f"planted: {place}"], SOUGHT)) == count


@pytest.mark.parametrize("form", SOUGHT)
def test_each_encoding_of_a_password_is_found(form: bytes) -> None:
    assert places_containing({"here": b"before " + form + b" behind", "there": b"p@ss"}, SOUGHT) == ["here"]


@pytest.mark.parametrize("camera_id", GOOD)
def test_the_right_password_opens_the_camera_with_the_configured_reader(outputs: Outputs, camera_id: str) -> None:
    connected = outputs.of(camera_id, "connected")
    assert connected
    assert {event["reader"] for event in connected} == {camera_id.partition("-")[2]}


@pytest.mark.parametrize("camera_id", BAD)
def test_a_wrong_password_is_reported_without_showing_it(outputs: Outputs, camera_id: str) -> None:
    refusals = outputs.of(camera_id, "refused")
    assert {event["cause"] for event in refusals} >= {BAD[camera_id]}
    assert all(event["detail"] for event in refusals)


def test_an_unreadable_credentials_file_is_named_and_not_shown(outputs: Outputs) -> None:
    details = [event["detail"] for event in outputs.of("wrong-native", "refused")]
    assert any("credentials.yaml" in detail for detail in details)


def test_a_url_with_a_password_is_rejected_without_repeating_it(outputs: Outputs) -> None:
    assert "url" in outputs.refused
    assert "credential" in outputs.refused
