"""The demo's output: steps as they happen, then a live table; plain lines if standard output is not a terminal."""

import asyncio
import time
from datetime import datetime
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live
from rich.table import Table

from districam_devkit.api_client import ApiClient, TimelineState
from districam_devkit.demo.latency import now_us
from districam_devkit.pipeline import Pipeline

REFRESH_S = 1.0
PLAIN_INTERVAL_S = 5.0
COLOURS = {"recording": "green", "late": "yellow", "lost": "red", "disabled": "dim"}


class Screen:
    """Prints steps and the table on one console."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._began = time.monotonic()

    def step(self, text: str) -> None:
        """Prints one line for a step that begins or is done."""
        self.console.print(f"[dim]{time.monotonic() - self._began:6.1f} s[/]  {text}", soft_wrap=True)

    def server_step(self, name: str, state: str) -> None:
        if state != "starting":
            self.step(f"{name}: {state}")

    async def watch(self, api: ApiClient, pipeline: Pipeline, since_us: int) -> None:
        """Shows the cameras until cancelled."""
        numbers = CameraRows(api, pipeline, since_us)
        if not self.console.is_terminal:
            while True:
                await asyncio.sleep(PLAIN_INTERVAL_S)
                self.console.print("\n".join(map(_plain_line, await numbers.rows())), soft_wrap=True)
        with Live(console=self.console, auto_refresh=False) as live:
            while True:
                live.update(_table(await numbers.rows()), refresh=True)
                await asyncio.sleep(REFRESH_S)


class CameraRows:
    """Makes one row per camera: recording state from the API, incoming rates from ingest's metrics."""

    def __init__(self, api: ApiClient, pipeline: Pipeline, since_us: int) -> None:
        self._api, self._pipeline, self._since_us = api, pipeline, since_us
        self._last: tuple[float, dict[str, float], dict[str, float]] | None = None

    async def rows(self) -> list[dict[str, Any]]:
        try:
            streams = await self._api.streams()
        except httpx.HTTPError as error:
            return [{"camera_id": "-", "name": f"the API is unreachable: {type(error).__name__}", "state": "late"}]
        rates = await self._rates()
        for row in streams:
            fps, bits = rates.get(row["camera_id"], (None, None))
            row |= {"fps": fps, "bits": bits, "gaps": await self._gaps(row["camera_id"])}
        return streams

    async def _rates(self) -> dict[str, tuple[float, float]]:
        units = await self._pipeline["ingest"].metric("districam_ingest_access_units_total")
        size = await self._pipeline["ingest"].metric("districam_ingest_bytes_total")
        before, self._last = self._last, (time.monotonic(), units, size)
        if before is None:
            return {}
        elapsed_s = self._last[0] - before[0]
        return {
            label.split('"')[1]: (
                (count - before[1].get(label, count)) / elapsed_s,
                (size.get(label, 0) - before[2].get(label, 0)) * 8 / elapsed_s,
            )
            for label, count in units.items()
        }

    async def _gaps(self, camera_id: str) -> str:
        try:
            states = await self._api.timeline(camera_id, self._since_us, now_us())
        except httpx.HTTPError:
            return "?"
        return format_gaps(states)


def format_gaps(states: list[TimelineState]) -> str:
    """Formats the gaps as cause and duration."""
    gaps = [state for state in states if state.state == "gap"]
    return ", ".join(f"{gap.cause} {(gap.to_us - gap.from_us) / 1e6:.1f} s" for gap in gaps) or "none"


def _age_s(row: dict[str, Any]) -> float | None:
    end = row.get("last_segment_end")
    if not end:
        return None
    return now_us() / 1e6 - datetime.fromisoformat(end).timestamp()


def _cells(row: dict[str, Any]) -> tuple[str, str, str, str, str, str]:
    age_s, fps, bits = _age_s(row), row.get("fps"), row.get("bits")
    return (
        str(row["camera_id"]),
        str(row.get("name", "")),
        "–" if fps is None else f"{fps:.0f}",
        "–" if bits is None else f"{bits / 1e6:.1f}",
        "–" if age_s is None else f"{age_s:.0f} s",
        str(row.get("gaps", "")),
    )


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("camera", "name", "state"):
        table.add_column(title)
    for title in ("fps", "Mbit/s", "stored up to"):
        table.add_column(title, justify="right")
    table.add_column("gaps")
    for row in rows:
        camera, name, *rest = _cells(row)
        state = str(row["state"])
        table.add_row(camera, name, f"[{COLOURS.get(state, 'white')}]{state}[/]", *rest)
    return table


def _plain_line(row: dict[str, Any]) -> str:
    camera, _, fps, bits, age, gaps = _cells(row)
    return f"  {camera}  {row['state']}, {fps} fps, {bits} Mbit/s, stored up to {age} ago, gaps: {gaps}"
