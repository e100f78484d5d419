"""Output of a benchmark: one line of JSON, and on request a JSON file and a Markdown page."""

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

_PAGE = "# {name}\n\nMade by `make bench-{name}` on {day}: {machine}. {load}\n\n| figure | value |\n|---|---|\n{rows}\n"


def write_results(folder: Path | None, name: str, figures: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Prints the figures as the last line; `parameters` are the benchmark's arguments."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        value = {**figures, "of": dict(parameters), "machine": machine(), "load": _load(), "day": day()}
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / f"{name}.md").write_text(_page(name, figures, parameters), encoding="utf-8")
    print(json.dumps(figures), flush=True)


def machine() -> str:
    """Describes cores, system and Python version."""
    release = Path("/etc/os-release")
    names = (
        dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line) if release.exists() else {}
    )
    system = names.get("PRETTY_NAME", platform.platform()).strip('"')
    return f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}"


def _load() -> str:
    return f"Load average of the last five minutes, the benchmark included: {os.getloadavg()[1]:.1f}."


def day() -> str:
    """Today's date, UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime())


def _page(title: str, figures: Mapping[str, Any], of: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {name} | {value} |" for name, value in (*_flat(figures), *_flat(of)))
    return _PAGE.format(name=title, day=day(), machine=machine(), load=_load(), rows=rows)


def _flat(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Flattens nested figures; a name joins both levels."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(cast("Mapping[str, Any]", value), f"{before}{name}, ")
        else:
            yield f"{before}{name}", value
