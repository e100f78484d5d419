"""`python compile.py TARGET [FOLDER]`: compiles ingest's hot modules, in place, where TARGET, an interpreter, has them installed.

The sources are the same, and stay where they are: what mypyc makes of them is found first, runs in half the time, and does
the same. Which modules, `services/ingest/pyproject.toml` says under `[tool.districam] compiled`. Whoever runs this has
`requirements/compile.txt`, a C compiler, and the interpreter's headers. FOLDER is another one that holds the packages.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from mypyc.build import mypycify
from setuptools import setup

ROOT = Path(__file__).parents[1]
GROUP = "districam"


def main(target: str, folder: str | None = None) -> int:
    words = "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_path('purelib'))"
    said = subprocess.run([target, "-c", words], capture_output=True, text=True, check=True, timeout=60)
    *version, installed = said.stdout.split(maxsplit=2)
    if tuple(map(int, version)) != sys.version_info[:2]:
        print(f"{target} is Python {'.'.join(version)}; compile with the same", file=sys.stderr)
        return 2
    home = Path(folder or installed.strip()).resolve()
    settings = tomllib.loads((ROOT / "services" / "ingest" / "pyproject.toml").read_text())
    modules = [f"{name.replace('.', '/')}.py" for name in settings["tool"]["districam"]["compiled"]]
    missing = [module for module in modules if not (home / module).is_file()]
    if missing:
        print(f"not in {home}: {', '.join(missing)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as build:
        for package in home.glob("districam_*/"):  # alone: mypy takes all beside them for part of the program
            shutil.copytree(package, Path(build, package.name))
        _build(build, modules, os.path.abspath(target))  # noqa: PTH100  # unlike resolve(), it keeps to the environment
        for made in (*Path(build).glob("*.so"), *Path(build).glob("districam_*/**/*.so")):
            shutil.copy(made, home / made.relative_to(build))
    return 0


def _build(folder: str, modules: list[str], target: str) -> None:
    os.chdir(folder)
    options = ["--ignore-missing-imports", "--follow-imports=silent", f"--python-executable={target}"]
    extensions = mypycify([*options, *modules], opt_level="3", debug_level="0", group_name=GROUP)
    setup(
        name=GROUP,
        packages=[],
        ext_modules=extensions,
        script_args=["-q", "build_ext", "--inplace", "--build-temp", "objects"],
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
