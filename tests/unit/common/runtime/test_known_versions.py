"""A library whose internals are used is one of the versions that the tests have run with."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from districam_common.runtime.known_versions import KNOWN_VERSIONS, UnknownVersionError, require

ROOT = Path(__file__).parents[4]
DECLARED = tomllib.loads((ROOT / "libs/common/pyproject.toml").read_text())["project"]["dependencies"]


@pytest.mark.parametrize("package", KNOWN_VERSIONS)
def test_the_error_names_package_versions_and_what_to_do(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(_: str) -> str:
        return "99.0"

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(UnknownVersionError) as raised:
        require(package)
    for part in (f"{package} 99.0 is installed", *KNOWN_VERSIONS[package], f"install {package}==", "KNOWN_VERSIONS"):
        assert part in str(raised.value)


@pytest.mark.parametrize("package", KNOWN_VERSIONS)
def test_installed_declared_and_locked_versions_are_known(package: str) -> None:
    """A lock file with a new version must be tested first, not discovered in operation."""
    require(package)
    known = KNOWN_VERSIONS[package]
    assert f"{package}=={known[-1]}" in DECLARED
    locks = sorted(ROOT.glob("requirements/*.txt"))
    locked = [one for path in locks for one in re.findall(rf"^{package}==(\S+)", path.read_text(), re.MULTILINE)]
    assert len(locked) == 5, "development and the four services"
    assert set(locked) <= set(known)
