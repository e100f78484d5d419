"""`python -m districam_devkit.servers`: runs the servers until Ctrl-C; prints their addresses as KEY=value."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from districam_devkit.servers import BrokerOption, ServerUnavailable, all_running


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m districam_devkit.servers", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".devkit"), help="data and logs (default: .devkit)")
    parser.add_argument("--broker", choices=["kafka", "auto", "tansu"], default="kafka")
    given = parser.parse_args()
    try:
        asyncio.run(_run(given.home, given.broker))
    except ServerUnavailable as error:
        sys.exit(f"==> {error}")


async def _run(home: Path, broker: BrokerOption) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with all_running(home, broker=broker, on_step=_print_step) as servers:
        for key, value in servers.environment().items():
            print(f"{key}={value}", flush=True)
        await ended.wait()


def _print_step(name: str, state: str) -> None:
    print(f"==> {name}: {state}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
