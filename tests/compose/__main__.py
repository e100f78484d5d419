"""`make test-compose`: runs deploy/docker-compose.yml on a real Docker engine, injects failures, stops and restarts it.

Needs root, Debian's docker.io and debootstrap; uses no image registry (tests/compose/images builds the base images).
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from compose.engine import Engine, engine
from compose.rows import ROWS, Footage, Row
from compose.sealed import sealed
from compose.stack import ROOT, Stack

RESULT = ROOT / "docs/results/compose.json"


async def _run(found: Engine, wanted: set[str]) -> tuple[dict[str, object], bool]:
    stack = Stack(found)
    rows: list[Row] = []
    async with stack.up() as started_s:
        await stack.cameras_record()
        footage = Footage(stack)
        for name, row in ROWS.items():
            if not wanted or name in wanted:
                rows.append(await row(footage))
                print(json.dumps(rows[-1].as_dict()), flush=True)
        facts = await sealed(stack)
        sizes = await stack.sizes()
    result = {
        "commit": stack.commit(),
        "tree_as_committed": stack.is_clean(),
        "engine": found.version,
        "base": "Debian 13 by debootstrap, in place of the pulled images (tests/compose)",
        "ready_s": round(started_s, 1),
        "rows": [row.as_dict() for row in rows],
        "sealed": facts,
        **sizes,
    }
    return result, all(row.ok for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m compose", description=__doc__)
    parser.add_argument("--results", type=Path, default=None, help="output file (JSON)")
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="operations to run (default: all)")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("needs root: it starts dockerd and debootstrap", file=sys.stderr)
        return 2
    with engine() as found:
        result, is_good = asyncio.run(_run(found, set(args.rows)))
    text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)
    if args.results:
        args.results.write_text(text + "\n")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
