"""Draws dashboards from Prometheus's results of their queries, without Grafana: a page of SVG per dashboard."""

import html
import time
from typing import Any

import httpx

from monitoring.boards import Board, Chart, Query

COLUMN, ROW, GAP = 52, 30, 8
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#b877d9", "#fa6400", "#8ab8ff", "#e02f44")
STYLE = "body{margin:0;background:#111217;font:13px sans-serif;color:#ccccdc}.p{position:absolute;background:#181b1f;border:1px solid #2c3235;overflow:hidden}.p h2{font-size:13px;margin:6px 8px;font-weight:500}.n{font-size:34px;text-align:center;margin-top:8px;color:#73bf69}.l{font-size:10px;margin:0 8px;white-space:nowrap;overflow:hidden}"
Series = tuple[str, list[tuple[float, float]]]


async def page(client: httpx.AsyncClient, board: Board, camera: str, last_s: int) -> str:
    """Returns the dashboard's current state as HTML."""
    out = [f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><h1 style='margin:8px'>{board.title}</h1>"]
    x = y = row = 0
    for chart in board.charts:
        if x + chart.width > 24:
            x, y, row = 0, y + row, 0
        series = [one for query in chart.queries for one in await _query(client, query, camera, last_s)]
        box = f"left:{GAP + x * COLUMN}px;top:{48 + y * ROW}px;width:{chart.width * COLUMN - GAP}px;height:{chart.height * ROW - GAP}px"
        out.append(f"<div class=p style='{box}'><h2>{html.escape(chart.title)}</h2>{_drawn(chart, series)}</div>")
        x, row = x + chart.width, max(row, chart.height)
    return "".join(out)


async def _query(client: httpx.AsyncClient, query: Query, camera: str, last_s: int) -> list[Series]:
    expr = query.expr.replace("$camera", camera).replace("$__rate_interval", "1m")
    now = time.time()
    asked = {"query": expr, "start": now - last_s, "end": now, "step": max(1, last_s // 120)}
    answer: dict[str, Any] = (await client.get("/api/v1/query_range", params=asked)).json()
    found: list[Series] = []
    for one in answer["data"]["result"]:
        legend = query.legend.replace("$camera", camera)
        for name, value in one["metric"].items():
            legend = legend.replace("{{" + name + "}}", value)
        found.append((legend or "value", [(float(at), float(v)) for at, v in one["values"] if v != "NaN"]))
    return found


def _drawn(chart: Chart, series: list[Series]) -> str:
    newest = [(name, points[-1][1]) for name, points in series if points]
    if not newest:
        return "<div class=l>no data</div>"
    if chart.kind == "stat":
        return f"<div class=n>{_formatted(newest[0][1], chart.unit)}</div>"
    if chart.kind == "bars":
        most = max(value for _, value in newest) or 1
        return "".join(
            f"<div class=l>{html.escape(name)} <b>{_formatted(value, chart.unit)}</b><div style='background:{COLOURS[0]};height:12px;width:{100 * value / most:.0f}%'></div></div>"
            for name, value in newest[:10]
        )
    return _lines(chart, series, newest)


def _lines(chart: Chart, series: list[Series], newest: list[tuple[str, float]]) -> str:
    width, height = chart.width * COLUMN - GAP - 16, chart.height * ROW - 82
    points = [point for _, one in series for point in one]
    first, last = min(at for at, _ in points), max(at for at, _ in points)
    low, high = min(0.0, *(value for _, value in points)), max(value for _, value in points) or 1.0
    drawn: list[str] = []
    for number, (_, one) in enumerate(series):
        path = " ".join(
            f"{width * (at - first) / (last - first or 1):.1f},{height * (1 - (value - low) / (high - low or 1)):.1f}"
            for at, value in one
        )
        drawn.append(f"<polyline fill=none stroke-width=1.5 stroke='{COLOURS[number % 8]}' points='{path}'/>")
    legend = "".join(
        f"<div class=l><span style='color:{COLOURS[number % 8]}'>■</span> {html.escape(name)} {_formatted(value, chart.unit)}</div>"
        for number, (name, value) in enumerate(newest[:3])
    )
    return f"<svg width={width} height={height} style='margin:0 8px'>{''.join(drawn)}</svg>{legend}"


def _formatted(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{100 * value:.2f} %"
    if unit in {"bytes", "Bps", "bps"}:
        for prefix in ("", "k", "M", "G", "T"):
            if abs(value) < 1000:
                return f"{value:.3g} {prefix}{'bit/s' if unit == 'bps' else 'B' if unit == 'bytes' else 'B/s'}"
            value /= 1000
    suffix = {"s": " s", "cps": "/s", "reqps": "/s"}.get(unit, "")
    return f"{value:.3g}{suffix}"
