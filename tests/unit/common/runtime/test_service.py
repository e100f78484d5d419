"""The service runner: exit codes, graceful stop, health while a dependency is unavailable."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable

import httpx
import pytest

from districam_common.errors import Fatal, Rejected, Retriable
from districam_common.runtime.service import Runtime, entry, retry_dependency, run
from districam_common.runtime.settings import HealthSettings, LogSettings, ServiceSettings

pytestmark = [pytest.mark.timeout(20), pytest.mark.usefixtures("logs_as_before")]


def settings(**more: object) -> ServiceSettings:
    return ServiceSettings(log=LogSettings(format="json"), **more)  # pyright: ignore[reportArgumentType]


def exit_code(main: Callable[[Runtime], Awaitable[None]], **more: object) -> int:
    return run("test", settings(**more), main)


async def until_stopped(runtime: Runtime) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await runtime.stopping.wait()


def raising(error: Exception) -> Callable[[Runtime], Awaitable[None]]:
    async def main(_: Runtime) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_raise(error))

    return main


async def _raise(error: Exception) -> None:
    raise error


def test_the_exit_code_of_a_requested_stop_is_0() -> None:
    assert exit_code(until_stopped) == 0


def test_the_exit_code_of_fatal_in_a_task_group_is_3_with_one_log_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(raising(ExceptionGroup("inner", [Fatal("wrong password")]))) == 3
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (last["event"], last["why"]) == ("fatal error", "wrong password")


@pytest.mark.parametrize("error", [ValueError("bug"), Retriable("let through"), Rejected("let through")])
def test_the_exit_code_of_any_other_error_is_1(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(raising(error)) == 1
    assert '"event": "failed"' in capsys.readouterr().err


def test_a_main_that_returns_before_stopping_is_a_bug() -> None:
    async def main(_: Runtime) -> None:
        return

    assert exit_code(main) == 1


def test_the_exit_code_of_a_stop_while_retrying_is_0() -> None:
    async def main(runtime: Runtime) -> None:
        async def attempt() -> None:
            raise Retriable("away")

        asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
        await retry_dependency(attempt, runtime, "kafka", cap_s=60)

    assert exit_code(main) == 0


def test_a_stop_longer_than_the_timeout_is_cancelled(capsys: pytest.CaptureFixture[str]) -> None:
    async def main(_: Runtime) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)

    assert exit_code(main, stop_timeout_s=0.2) == 1
    assert "DISTRICAM_STOP_TIMEOUT_S" in capsys.readouterr().err


def test_the_exit_code_of_a_port_in_use_is_2_and_the_variable_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert exit_code(until_stopped, health=HealthSettings(port=port)) == 2
    assert "DISTRICAM_HEALTH__PORT" in capsys.readouterr().err


def test_the_exit_code_of_invalid_settings_is_2_with_a_message_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main(_settings: ServiceSettings, runtime: Runtime) -> None:
        await until_stopped(runtime)

    monkeypatch.setenv("DISTRICAM_STE", "x")
    assert entry("test", ServiceSettings, main) == 2
    assert "districam-test: DISTRICAM_STE: no such setting; did you mean DISTRICAM_SITE?" in (capsys.readouterr().err)
    monkeypatch.delenv("DISTRICAM_STE")
    assert entry("test", ServiceSettings, main) == 0


def test_readiness_is_logged_once_and_served_over_http(capsys: pytest.CaptureFixture[str]) -> None:
    statuses: list[tuple[int, int]] = []

    async def main(runtime: Runtime) -> None:
        runtime.health.declare("kafka", "s3")
        runtime.health.report_ok("kafka")
        port = json.loads(capsys.readouterr().err.splitlines()[0])["health_port"]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
            statuses.append(((await client.get("/healthz")).status_code, (await client.get("/readyz")).status_code))
            runtime.health.report_ok("s3")
            runtime.health.report_failing("s3", "slow")
            runtime.health.report_ok("s3")
            statuses.append(((await client.get("/healthz")).status_code, (await client.get("/readyz")).status_code))
            assert (await client.head("/metrics")).status_code == 200
        await until_stopped(runtime)

    assert exit_code(main) == 0
    assert statuses == [(200, 503), (200, 200)]
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events.count("ready") == 1


async def test_retry_dependency_returns_the_result_and_reports_to_health() -> None:
    runtime = Runtime("test")
    seen: list[bool] = []

    async def attempt() -> str:
        seen.append(runtime.health.is_ready)
        if len(seen) < 3:
            raise Retriable("away")
        return "here"

    runtime.health.declare("kafka")
    assert await retry_dependency(attempt, runtime, "kafka", first_s=0.001) == "here"
    assert seen == [False] * 3
    assert runtime.health.is_ready


async def test_retry_dependency_does_not_repeat_rejected() -> None:
    async def attempt() -> None:
        raise Rejected("no")

    with pytest.raises(Rejected):
        await retry_dependency(attempt, Runtime("test"), "kafka")


@pytest.mark.parametrize("while_stopping", [False, True])
async def test_a_stop_ends_the_retries_unless_while_stopping(*, while_stopping: bool) -> None:
    runtime, calls = Runtime("test"), list[str]()
    runtime.stopping.set()

    async def attempt() -> str:
        calls.append("call")
        if len(calls) < 3:
            raise Retriable("away")
        return "here"

    async def asked() -> str:
        try:
            return await retry_dependency(attempt, runtime, "s3", first_s=0.001, while_stopping=while_stopping)
        except Retriable:
            return "given up"

    assert (await asked(), len(calls)) == (("here", 3) if while_stopping else ("given up", 1))


def test_instance_names_are_unique() -> None:
    assert Runtime("test").instance != Runtime("test").instance
