"""`make test-deploy`: runs Prometheus on the running services, with the committed rules, panels and alerts.

Every panel's queries must return data; killing a camera must raise an alert within a minute, and its return clear it.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from playwright.async_api import async_playwright

from districam_devkit.pipeline import Pipeline, apply_cameras, prepare, services_running
from districam_devkit.servers import all_running
from districam_devkit.servers.ports import pick_free_ports
from districam_devkit.servers.process import Child, ProcessSpec, running
from districam_devkit.services import SERVICES
from districam_devkit.simcam.process import running_simulator
from monitoring import catalogue, pictures
from monitoring.boards import BOARDS
from support.manifests import DEPLOY, find_tool

RULES = DEPLOY / "prometheus/rules.yml"
STAYS, GOES = "cam-001", "cam-002"
CALLED_S = 60
"""From killing a camera until the alert fires."""
FILMED_S = 150
"""Time until everything has data: a minute for rates, and a settled gap."""
EMPTY_BY_DESIGN = {
    "kafka_consumergroup_lag": "the lag exporter is not available here",
    "districam_recorder_put_errors_total": "no put failed; tests/integration/test_recorder.py makes some fail",
    "districam_holds": "no hold was placed; tests/integration/test_holds.py places some",
    "districam_ingest_sound_": "these cameras have no sound; tests/integration/test_sound.py gives them some",
    "districam_ingest_clock_offset_seconds": "exported after the camera's first sender report",
}


@dataclass(frozen=True)
class Watched:
    """The running system."""

    pipeline: Pipeline
    camera: Child
    prometheus: httpx.AsyncClient

    async def query(self, expr: str) -> list[Any]:
        answer = await self.prometheus.get("/api/v1/query", params={"query": expr})
        assert answer.status_code == 200, f"{expr}: {answer.text}"
        return answer.json()["data"]["result"]

    async def firing(self) -> set[tuple[str, str]]:
        """(alert, camera) of all firing alerts."""
        answer = await self.prometheus.get("/api/v1/alerts")
        return {
            (one["labels"]["alertname"], one["labels"].get("camera", ""))
            for one in answer.json()["data"]["alerts"]
            if one["state"] == "firing"
        }

    async def until(self, within_s: float, *, called: bool) -> float:
        """Returns the time until the alert for the missing camera fires or clears. Raises TimeoutError."""
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(within_s):
            while (("CameraNotRecording", GOES) in await self.firing()) is not called:
                await asyncio.sleep(1)
        return asyncio.get_running_loop().time() - began


async def _listens(port: int) -> bool:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True


async def _camera(stack: AsyncExitStack, home: Path, camera_id: str, port: int) -> Child:
    spec = home / f"{camera_id}.json"
    clip = {"codec": "h264", "width": 640, "height": 360, "fps": 15}
    spec.write_text(json.dumps({"cameras": [{"id": camera_id, "clip": clip}], "faults": []}))
    return await stack.enter_async_context(
        running_simulator(spec, port, home=home, cache=home / "clips", name=camera_id)
    )


def _config(pipeline: Pipeline) -> str:
    """The committed configuration, with container host names replaced by the local addresses."""
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "5s", "evaluation_interval": "5s"}
    config["rule_files"] = [str(RULES)]
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] in SERVICES]
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        url = next(pipeline[name].health_url for name in SERVICES if name == job["job_name"])
        job["static_configs"] = [{"targets": [url.removeprefix("http://")]}]
    return yaml.safe_dump(config)


@asynccontextmanager
async def _watched(home: Path) -> AsyncGenerator[Watched]:
    kept_port, killed_port, port = pick_free_ports(3)
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(all_running(home))
        await prepare(servers)
        await _camera(stack, home, STAYS, kept_port)
        camera = await _camera(stack, home, GOES, killed_port)
        own: dict[str, dict[str, str]] = {
            "indexer": {"DISTRICAM_STORAGE__MAX_BYTES": str(1 << 40), "DISTRICAM_INDEXER__SETTLE_S": "5"},
            "recorder": {"DISTRICAM_RECORDER__CONTACT_S": "3"},
        }
        pipeline = await stack.enter_async_context(services_running(home, servers, overrides=own))
        cameras = [
            {"camera_id": name, "name": name, "url": f"rtsp://127.0.0.1:{at}/{name}"}
            for name, at in ((STAYS, kept_port), (GOES, killed_port))
        ]
        await apply_cameras(home / "cameras.yaml", cameras, servers.environment())
        (home / "prometheus.yml").write_text(_config(pipeline))
        url = f"http://127.0.0.1:{port}"
        program = ProcessSpec(
            name="prometheus",
            argv=(
                find_tool("prometheus"),
                f"--config.file={home}/prometheus.yml",
                f"--storage.tsdb.path={home}/tsdb",
                f"--web.listen-address=127.0.0.1:{port}",
            ),
            folder=home,
            log_path=home / "logs" / "prometheus.log",
            is_ready=lambda: _listens(port),
        )
        await stack.enter_async_context(running(program))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=10))
        yield Watched(pipeline, camera, client)


@pytest.mark.timeout(600)
async def test_panels_have_data_and_a_dead_camera_raises_an_alert(tmp_path: Path) -> None:
    async with _watched(tmp_path) as watched:
        async with httpx.AsyncClient(timeout=5) as client:
            await client.get(f"{watched.pipeline.api_url}/v1/streams")
        await asyncio.sleep(45)
        assert await watched.firing() == set()
        await watched.camera.kill()
        called_s = await watched.until(CALLED_S + 10, called=True)
        assert called_s <= CALLED_S
        await asyncio.sleep(20)
        await watched.camera.start()
        cleared_s = await watched.until(90, called=False)
        print(f"called after {called_s:.0f} s, cleared {cleared_s:.0f} s after its return")
        await asyncio.sleep(FILMED_S - 100)
        await _panels(watched)
        await _rules(watched)
        await _metrics(watched)
        if folder := os.environ.get("PICTURES"):
            await _pictures(watched, Path(folder))


async def _pictures(watched: Watched, folder: Path) -> None:
    """Writes each dashboard as a picture, drawn from its queries' results."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_tool("chromium"), args=["--no-sandbox"])
        sheet = await browser.new_page(viewport={"width": 1264, "height": 1000})
        for board in BOARDS:
            await sheet.set_content(await pictures.page(watched.prometheus, board, GOES, 180))
            await sheet.screenshot(path=folder / f"{board.uid}.png", full_page=True)
        await browser.close()


async def _panels(watched: Watched) -> None:
    empty: list[str] = []
    for board in BOARDS:
        for chart in board.charts:
            for query in chart.queries:
                expr = query.expr.replace("$camera", GOES).replace("$__rate_interval", "2m")
                if not await watched.query(expr) and not any(name in expr for name in EMPTY_BY_DESIGN):
                    empty.append(f"{board.title} / {chart.title}: {expr}")
    assert empty == []


async def _rules(watched: Watched) -> None:
    answer = (await watched.prometheus.get("/api/v1/rules")).json()["data"]["groups"]
    rules = [rule for group in answer for rule in group["rules"]]
    assert len(rules) == sum(len(group["rules"]) for group in yaml.safe_load(RULES.read_text())["groups"])
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []


async def _metrics(watched: Watched) -> None:
    """Each metric of docs/metrics.md is exported by the service listed there."""
    async with httpx.AsyncClient(timeout=5) as client:
        exported = {name: (await client.get(f"{watched.pipeline[name].health_url}/metrics")).text for name in SERVICES}
    for metric in catalogue.registered():
        for name in SERVICES if metric.service == "every service" else [metric.service]:
            assert f"# TYPE {metric.name} " in exported[name], metric.name
