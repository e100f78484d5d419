"""Renders dashboards as Grafana's JSON with Grafana's library (pinned: its newest version has an older number)."""

import json
import warnings
from typing import Any

from monitoring.boards import Board, Chart

with warnings.catch_warnings():
    # it recommends a format that Grafana 12's provisioning does not support yet
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import bargauge, dashboard, prometheus, stat, statetimeline, timeseries
    from grafana_foundation_sdk.builders import common as looks
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import common
    from grafana_foundation_sdk.models import dashboard as model

SOURCE = common.DataSourceRef(type_val="prometheus", uid="prometheus")
COLUMNS = 24
BUILDERS: dict[str, Any] = {
    "stat": stat.Panel,
    "lines": timeseries.Panel,
    "bars": bargauge.Panel,
    "states": statetimeline.Panel,
}


def text_of(board: Board) -> str:
    """Returns the file's content; deterministic."""
    return json.dumps(_dashboard(board).build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _dashboard(board: Board) -> Any:
    made: Any = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .tags(["districam"])
        .refresh("30s")
        .time(board.period, "now")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(dashboard.DashboardLink("districam").type(model.DashboardLinkType.DASHBOARDS).tags(["districam"]))
    )
    if board.camera:
        made = made.with_variable(
            dashboard.QueryVariable("camera")
            .label("Camera")
            .datasource(SOURCE)
            .query("label_values(districam_last_segment_end_timestamp_seconds, camera)")
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(model.VariableSort.ALPHABETICAL_ASC)
        )
    x = y = row = 0
    for number, chart in enumerate(board.charts, start=1):
        if x + chart.width > COLUMNS:
            x, y, row = 0, y + row, 0
        made = made.with_panel(_panel(chart, number, x, y))
        x, row = x + chart.width, max(row, chart.height)
    return made


def _panel(chart: Chart, number: int, x: int, y: int) -> Any:
    panel = (
        BUILDERS[chart.kind]()
        .id(number)
        .title(chart.title)
        .description(chart.help)
        .datasource(SOURCE)
        .unit(chart.unit)
        .grid_pos(model.GridPos(h=chart.height, w=chart.width, x=x, y=y))
    )
    for letter, query in zip("ABCDEF", chart.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter)
        panel = panel.with_target(target.instant() if chart.kind in {"stat", "bars"} else target.range())
    if chart.kind == "lines":
        panel = panel.min(0).fill_opacity(10).show_points(common.VisibilityMode.NEVER)
        if chart.stacked:
            panel = panel.stacking(looks.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if chart.warn is not None and chart.bad is not None:
        panel = panel.thresholds(_thresholds(chart.warn, chart.bad))
    return panel


def _thresholds(warn: float, bad: float) -> Any:
    order = ("green", "orange", "red") if warn < bad else ("red", "orange", "green")
    low, high = sorted((warn, bad))
    steps = [model.Threshold(value=None, color=order[0]), model.Threshold(value=low, color=order[1])]
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([*steps, model.Threshold(value=high, color=order[2])])
    )
