"""Kafka's jars: fetched once by Maven, kept in the user's cache."""

import asyncio
import os
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from districam_devkit.servers.process import OnStep, ServerUnavailable

KAFKA_VERSION = "4.4.0"
_FETCH_TIMEOUT_S = 600


def cache_dir() -> Path:
    """Returns the folder of this version's jars, whether or not it exists yet."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "districam", f"kafka-{KAFKA_VERSION}")


async def jars(on_step: OnStep) -> Path:
    """Returns the folder of Kafka's jars, fetched if missing. Raises ServerUnavailable without Maven or registry."""
    folder = cache_dir()
    if folder.is_dir():
        return folder
    mvn = shutil.which("mvn")
    if mvn is None:
        raise ServerUnavailable(
            f"Kafka's jars are not in {folder} and there is no `mvn` to fetch them. Install Maven (Debian: apt install maven)."
        )
    on_step("kafka", "fetching the jars with Maven (45 MB, once)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as work:
        fetched = Path(work, "jars")
        await _fetch(mvn, Path(work), fetched)
        _move_into_place(fetched, folder)
    return folder


async def _fetch(mvn: str, work: Path, into: Path) -> None:
    pom = work / "pom.xml"
    pom.write_bytes(resources.files("districam_devkit.servers").joinpath("pom.xml").read_bytes())
    log = work / "mvn.log"
    options = (
        "-B",
        "-q",
        "-C",
        "-Dstyle.color=never",
        "-f",
        str(pom),
        f"-Dkafka.version={KAFKA_VERSION}",
        f"-DoutputDirectory={into}",
    )
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            mvn, *options, "dependency:copy-dependencies", stdin=asyncio.subprocess.DEVNULL, stdout=sink, stderr=sink
        )
        try:
            async with asyncio.timeout(_FETCH_TIMEOUT_S):
                code = await process.wait()
        except TimeoutError:
            code = f"none within {_FETCH_TIMEOUT_S} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if code != 0:
        raise ServerUnavailable(_failure_message(code, log.read_text(errors="replace")))


def _failure_message(code: int | str, log: str) -> str:
    errors = [line for line in log.splitlines() if line.removeprefix("[ERROR]").strip()][:2]
    return (
        f"Maven could not fetch Kafka {KAFKA_VERSION} (exit code {code}). Check that its registry can be reached "
        "(a mirror is named in ~/.m2/settings.xml), then try again.\n" + "\n".join(f"    {line}" for line in errors)
    )


def _move_into_place(fetched: Path, folder: Path) -> None:
    try:
        fetched.rename(folder)
    except OSError:  # another process has put the same jars there meanwhile
        if not folder.is_dir():
            raise
