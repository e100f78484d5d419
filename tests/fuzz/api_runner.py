"""Fuzzes the api over HTTP: a process on real Valkey and SeaweedFS, tested by Schemathesis with and without a key."""

import asyncio
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from districam_devkit.servers import seaweedfs
from fuzz.run_result import OnProgress, RunResult
from support.api_process import ApiProcess
from support.schemathesis_api import KEY_HEADER_CONFIG, footage_config, running_stocked_api, schemathesis_command

NAME = "api"
MAX_RESPONSE_S, MAX_GROWTH_MIB = 10, 256
"""Limits of a response's time and of the api's memory growth; more is a finding."""
EXIT_TIMEOUT_S = 180
_REQUESTS = re.compile(r'^districam_api_requests_total{route="([^"]*)",status="(\d+)"} (\S+)', re.MULTILINE)


class ApiRunner:
    """Splits the time in three: without a key, with a key, and with parameters that have footage."""

    def __init__(self, folder: Path) -> None:
        self._findings = folder / NAME / "findings"

    def run(self, seconds: float, on_progress: OnProgress) -> RunResult:
        """Runs for `seconds`, or until a finding."""
        self._findings.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="districam-fuzz-") as home:
            return asyncio.run(self._run(Path(home), seconds, on_progress))

    def update_corpus(self) -> None:
        """Schemathesis generates its inputs from the document, so there is no corpus."""

    async def _run(self, home: Path, seconds: float, on_progress: OnProgress) -> RunResult:
        ran, configurations = (
            RunResult(),
            (("without a key", [""]), ("with a key", [KEY_HEADER_CONFIG]), ("for footage", footage_config())),
        )
        async with seaweedfs.running(home / "s3", log_dir=home) as store, running_stocked_api(home, store) as api:
            before, began_s = api.rss_bytes(), time.monotonic()
            for name, config in configurations:
                await self._run_schemathesis(
                    api,
                    home,
                    config,
                    name=name,
                    seconds=seconds / len(configurations),
                    ran=ran,
                    on_progress=on_progress,
                )
                if ran.findings:
                    break
            ran.seconds = time.monotonic() - began_s
            grown_mib = (api.rss_bytes() - before) >> 20
            if grown_mib > MAX_GROWTH_MIB:
                self._write_finding(ran, "memory", f"the api holds {grown_mib} MiB more than at its start")
        return ran

    async def _run_schemathesis(
        self,
        api: ApiProcess,
        home: Path,
        config: Sequence[str],
        *,
        name: str,
        seconds: float,
        ran: RunResult,
        on_progress: OnProgress,
    ) -> None:
        seed = str(time.time_ns() % 2**32)
        called, environment = await asyncio.to_thread(
            schemathesis_command, api, home, config, "--seed", seed, "--max-time", str(max(1, round(seconds))),
            "--max-response-time", str(MAX_RESPONSE_S), "--phases", "coverage,fuzzing",
        )  # fmt: skip
        run = asyncio.to_thread(
            subprocess.run,
            called, cwd=home, env=environment, capture_output=True, text=True,
            timeout=seconds + EXIT_TIMEOUT_S, check=False,
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._report_progress(api, name, ran, on_progress))
            done = await run
            watching.cancel()
        await self._count(api, ran)
        failed = api.events("request failed")
        if done.returncode or failed:
            self._write_finding(ran, name.replace(" ", "-"), f"seed {seed}, {name}\n{done.stdout}{done.stderr}{failed}")

    async def _report_progress(self, api: ApiProcess, name: str, ran: RunResult, on_progress: OnProgress) -> None:
        while True:
            await asyncio.sleep(2)
            await self._count(api, ran)
            on_progress(f"{name}: {ran.executions} requests, {ran.edges} routes and statuses")

    async def _count(self, api: ApiProcess, ran: RunResult) -> None:
        try:
            async with httpx.AsyncClient(timeout=10) as http:
                text = (await http.get(f"{api.health_url}/metrics")).text
        except httpx.HTTPError:
            return
        found = _REQUESTS.findall(text)
        ran.executions, ran.edges = round(sum(float(count) for *_, count in found)), len(found)

    def _write_finding(self, ran: RunResult, name: str, text: str) -> None:
        path = self._findings / f"{name}-{time.time_ns()}.txt"
        path.write_text(text)
        ran.findings.append(path)
