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


def test_ports_that_are_chosen_can_be_listened_on_and_so_can_their_companions():
    chosen = ports.pick_free_ports(8, companion_offset=10_000)
    assert len(set(chosen)) == 8
    for port in chosen:
        for number in (port, port + 10_000):
            socket.create_server((ports.HOST, number)).close()


def test_a_port_is_chosen_only_if_its_companion_is_free(monkeypatch: pytest.MonkeyPatch, taken: int):
    monkeypatch.setattr(ports, "_RANGE", range(taken - 1, taken))
    with pytest.raises(ServerUnavailable):
        ports.pick_free_ports(1, companion_offset=1)


def test_a_taken_port_is_named(taken: int):
    assert not ports.is_free(taken)
    with pytest.raises(ServerUnavailable, match=f"kafka .*port {taken} is taken"):
        ports.require_free("kafka", [taken])


def test_a_port_on_all_addresses_is_taken_too():
    with socket.create_server(("", 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


async def test_a_port_that_was_taken_between_choice_and_start_costs_another_choice(taken: int):
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


async def test_two_taken_ports_in_a_row_are_told(taken: int):
    @asynccontextmanager
    async def start(chosen: list[int]) -> AsyncGenerator[None]:
        ports.require_free("some server", chosen)
        yield

    with pytest.raises(ServerUnavailable, match=f"port {taken} is taken"):
        async with ports.retry_on_taken_port(lambda: [taken], start):
            pass


async def test_what_other_ports_would_not_help_is_not_tried_again():
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
