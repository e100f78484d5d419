import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager

import pytest

from districam_devkit.servers import ports
from districam_devkit.servers.process import ServerUnavailable


@pytest.fixture
def taken() -> Generator[int]:
    with socket.create_server((ports.HOST, 0)) as server:
        yield server.getsockname()[1]


def test_chosen_ports_and_their_companions_are_free():
    chosen = ports.pick_free_ports(8, companion_offset=10_000)
    assert len(set(chosen)) == 8
    for port in chosen:
        for number in (port, port + 10_000):
            socket.create_server((ports.HOST, number)).close()


def test_a_port_is_chosen_only_if_its_companion_is_free(monkeypatch: pytest.MonkeyPatch, taken: int):
    monkeypatch.setattr(ports, "_RANGE", range(taken - 1, taken))
    with pytest.raises(ServerUnavailable):
        ports.pick_free_ports(1, companion_offset=1)


def test_a_port_in_use_is_named(taken: int):
    assert not ports.is_free(taken)
    with pytest.raises(ServerUnavailable, match=f"kafka .*port {taken} is taken"):
        ports.require_free("kafka", [taken])


def test_a_port_in_use_on_all_addresses_counts_as_taken():
    with socket.create_server(("", 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


async def test_a_port_taken_between_choice_and_start_is_chosen_again(taken: int):
    (free,) = ports.pick_free_ports(1)
    choices = iter([[taken], [free]])
    started: list[list[int]] = []

    @asynccontextmanager
    async def start(chosen: list[int]) -> AsyncGenerator[int]:
        started.append(chosen)
        ports.require_free("some server", chosen)
        yield chosen[0]

    async with ports.retry_on_taken_port(lambda: next(choices), start) as port:
        assert port == free
    assert started == [[taken], [free]]


async def test_two_taken_ports_in_a_row_raise(taken: int):
    @asynccontextmanager
    async def start(chosen: list[int]) -> AsyncGenerator[None]:
        ports.require_free("some server", chosen)
        yield

    with pytest.raises(ServerUnavailable, match=f"port {taken} is taken"):
        async with ports.retry_on_taken_port(lambda: [taken], start):
            pass


async def test_errors_other_than_a_taken_port_are_not_retried():
    tries: list[list[int]] = []

    @asynccontextmanager
    async def start(chosen: list[int]) -> AsyncGenerator[None]:
        tries.append(chosen)
        raise ServerUnavailable("no such disk")
        yield

    with pytest.raises(ServerUnavailable, match="no such disk"):
        async with ports.retry_on_taken_port(lambda: ports.pick_free_ports(1), start):
            pass
    assert len(tries) == 1
