"""Resolving camera host names: addresses are not looked up, and unanswered lookups delay no other."""

import asyncio
import socket
import threading

import pytest

from districam_ingest.readers.resolver import resolve


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_an_address_is_not_looked_up(host: str, family: socket.AddressFamily, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threading.Thread, "start", None)  # no lookup may start
    [(found, kind, *_, address)] = await resolve(host, 554)
    assert (found, kind, address[:2]) == (family, socket.SOCK_STREAM, (host, 554))


async def test_a_host_name_is_looked_up():
    found = await resolve("localhost", 554)
    assert {address[1] for *_, address in found} == {554}


@pytest.mark.parametrize("name", ["no-such-camera.invalid", "x" * 64 + ".example", "a..b"])
async def test_an_unknown_or_invalid_host_name_raises_os_error(name: str):
    async with asyncio.timeout(20):
        with pytest.raises(OSError):  # the text is the system's
            await resolve(name, 554)


@pytest.mark.correctness
async def test_a_hundred_unanswered_lookups_delay_no_other(monkeypatch: pytest.MonkeyPatch):
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
