"""docs/api/asyncapi.yaml is valid for AsyncAPI's official parser (Node.js)."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "api" / "asyncapi.yaml"
SOURCE = ROOT / "tests" / "support" / "asyncapi"


@pytest.fixture(scope="module")
def parser() -> Path:
    """A folder with the locked parser, kept under .devkit, so that only the first run installs it."""
    for program in ("node", "npm"):
        assert shutil.which(program), f"{program} is missing: apt-get install nodejs npm"
    lock = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder = ROOT / ".devkit" / "npm" / f"asyncapi-{lock}"
    shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
    if not (folder / ".installed").exists():
        done = subprocess.run(["npm", "ci"], cwd=folder, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, f"npm ci in {folder}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        (folder / ".installed").touch()
    return folder


def _found_wrong(parser: Path, document: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["node", str(parser / "validate.mjs"), str(document)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_document_is_asyncapi_3(parser: Path) -> None:
    assert DOCUMENT.read_text().splitlines()[1] == "asyncapi: 3.0.0"
    assert _found_wrong(parser, DOCUMENT) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("    address: districam.cameras.v1", "    adress: districam.cameras.v1", "adress"),
        ("#/components/messages/camera'", "#/components/messages/camara'", "camara"),
        ("        partitions: 60", "        partitions: many", "partitions"),
    ],
)
def test_the_asyncapi_parser_rejects_an_invalid_document(
    parser: Path, tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    text = DOCUMENT.read_text()
    assert right in text
    invalid = tmp_path / "asyncapi.yaml"
    invalid.write_text(text.replace(right, wrong, 1))
    code, output = _found_wrong(parser, invalid)
    assert code == 1
    assert message in output
