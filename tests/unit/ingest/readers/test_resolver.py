"""Cameras' names: an address is not looked up, and who does not answer keeps nobody else waiting."""

import asyncio
import socket
import threading

import pytest

from districam_ingest.readers.resolver import resolve


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_an_address_is_not_looked_up(host: str, family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threading.Thread, "start", None)  # nobody may be asked
    [(found, kind, *_, address)] = await resolve(host, 554)
    assert (found, kind, address[:2]) == (family, socket.SOCK_STREAM, (host, 554))


async def test_a_name_is():
    found = await resolve("localhost", 554)
    assert {address[1] for *_, address in found} == {554}


@pytest.mark.parametrize("name", ["no-such-camera.invalid", "x" * 64 + ".example", "a..b"])
async def test_a_name_that_is_none_is_a_camera_that_cannot_be_reached(name: str):
    async with asyncio.timeout(20):
        with pytest.raises(OSError):  # of whatever kind: the text is the system's
            await resolve(name, 554)


@pytest.mark.correctness
async def test_a_hundred_names_that_nobody_answers_for_keep_no_other_waiting(monkeypatch: pytest.MonkeyPatch):
    answered, real = threading.Event(), socket.getaddrinfo

    def asked(host: str, *args: int, **more: int) -> object:
        if host.startswith("dead") and not more.get("flags"):
            answered.wait(30)
        return real(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    dead = [asyncio.ensure_future(resolve(f"dead-{n}.invalid", 554)) for n in range(100)]
    try:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
            assert await resolve("localhost", 554)
            assert await asyncio.get_running_loop().getaddrinfo("localhost", 9092), "nor Kafka's brokers"
    finally:
        answered.set()
        for one in dead:
            one.cancel()
    await asyncio.wait(dead, timeout=5)
    assert all(one.cancelled() for one in dead)
