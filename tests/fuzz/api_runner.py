"""Fuzzes the api by HTTP: a process of its own, on real Valkey and SeaweedFS, asked by Schemathesis with a key and without."""

import asyncio
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from districam_devkit.servers import seaweedfs
from fuzz.ran import Ran, Tell
from support.api_process import Api
from support.asked_api import WITH_KEY, command, stocked, with_footage

NAME = "api"
SLOW_S, GROWN_MIB = 10, 256
"""A slower answer is a finding; so is an api that holds so much more memory than at its start."""
ENDS_WITHIN_S = 180
_REQUESTS = re.compile(r'^districam_api_requests_total{route="([^"]*)",status="(\d+)"} (\S+)', re.MULTILINE)


class ApiRunner:
    """Asks a third of the time without a key, a third with one, a third for what there is footage of."""

    def __init__(self, folder: Path) -> None:
        self._found = folder / NAME / "findings"

    def run(self, seconds: float, tell: Tell) -> Ran:
        """For so long, or until a finding."""
        self._found.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="districam-fuzz-") as home:
            return asyncio.run(self._run(Path(home), seconds, tell))

    def keep(self) -> None:
        """Schemathesis makes its inputs out of the document: there are none to be kept."""

    async def _run(self, home: Path, seconds: float, tell: Tell) -> Ran:
        ran, manners = (
            Ran(),
            (("without a key", [""]), ("with a key", [WITH_KEY]), ("for footage", with_footage())),
        )
        async with (
            seaweedfs.running(home / "s3", log_dir=home) as store,
            stocked(home, store) as api,
        ):
            before, began_s = api.rss_bytes(), time.monotonic()
            for name, config in manners:
                await self._ask(
                    api, home, config, name=name, seconds=seconds / len(manners), ran=ran, tell=tell
                )
                if ran.findings:
                    break
            ran.seconds = time.monotonic() - began_s
            grown_mib = (api.rss_bytes() - before) >> 20
            if grown_mib > GROWN_MIB:
                self._tell(ran, "memory", f"the api holds {grown_mib} MiB more than at its start")
        return ran

    async def _ask(
        self, api: Api, home: Path, config: Sequence[str], *, name: str, seconds: float, ran: Ran, tell: Tell
    ) -> None:
        seed = str(time.time_ns() % 2**32)
        called, environment = await asyncio.to_thread(
            command, api, home, config, "--seed", seed, "--max-time", str(max(1, round(seconds))),
            "--max-response-time", str(SLOW_S), "--phases", "coverage,fuzzing",
        )  # fmt: skip
        asking = asyncio.to_thread(
            subprocess.run,
            called, cwd=home, env=environment, capture_output=True, text=True,
            timeout=seconds + ENDS_WITHIN_S, check=False,
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch(api, name, ran, tell))
            done = await asking
            watching.cancel()
        await self._count(api, ran)
        failed = api.events("request failed")
        if done.returncode or failed:
            self._tell(
                ran, name.replace(" ", "-"), f"seed {seed}, {name}\n{done.stdout}{done.stderr}{failed}"
            )

    async def _watch(self, api: Api, name: str, ran: Ran, tell: Tell) -> None:
        while True:
            await asyncio.sleep(2)
            await self._count(api, ran)
            tell(f"{name}: {ran.executions} requests, {ran.edges} routes and statuses")

    async def _count(self, api: Api, ran: Ran) -> None:
        try:
            async with httpx.AsyncClient(timeout=10) as http:
                text = (await http.get(f"{api.health_url}/metrics")).text
        except httpx.HTTPError:
            return
        found = _REQUESTS.findall(text)
        ran.executions, ran.edges = round(sum(float(count) for *_, count in found)), len(found)

    def _tell(self, ran: Ran, name: str, text: str) -> None:
        path = self._found / f"{name}-{time.time_ns()}.txt"
        path.write_text(text)
        ran.findings.append(path)
