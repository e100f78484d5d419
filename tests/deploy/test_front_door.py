"""Starts the api with the settings of compose and of the overlays: it runs, and is no more open than stated."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from districam_api import keyring
from districam_api.settings import ApiSettings, Settings
from districam_common.runtime.settings import load
from support.manifests import Container, build_overlay, compose, compose_containers, kubernetes_containers

HOME = "/var/lib/districam"
KNOB = re.compile(r"\$\{\w+:-([^}]*)\}")


def first_run(home: Path) -> None:
    """Runs compose's job that creates missing secrets, in a test folder."""
    entrypoint: list[str] = compose()["services"]["first-key"]["entrypoint"]
    script = entrypoint[2].replace(HOME, str(home)).replace("$$", "$")
    bin_ = Path(sys.executable).parent
    environment = {"PATH": f"{bin_}:{os.environ['PATH']}", "DISTRICAM_API__KEYS_FILE": str(home / "keys.json")}
    done = subprocess.run(
        [*entrypoint[:2], script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "dc_" not in done.stdout + done.stderr


def settings_of(container: Container, home: Path) -> ApiSettings:
    """The api's settings from the container's environment, with its files in `home`."""
    assert container.program == "districam-api"
    given = {name: KNOB.sub(r"\1", value) for name, value in container.environment.items() if "_API__" in name}
    files = {
        f"DISTRICAM_API__{name}_FILE": str(home / file)
        for name, file in (("KEYS", "keys.json"), ("TOKEN_KEY", "token-key"))
    }
    assert set(files) < set(given)
    return load(Settings, given | files).api


@pytest.mark.hostile
def test_generated_compose_secrets_start_the_api_and_let_nobody_in(tmp_path: Path):
    (tmp_path / "first-key").write_text("dc_00000000_left-by-an-older-version")
    first_run(tmp_path)
    made = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    assert set(made) == {"keys.json", "token-key"}
    assert [(key.role, key.revoked_us) for key in keyring.read(tmp_path / "keys.json")] == [("viewer", None)]
    first_run(tmp_path)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == made, "each `up` leaves it as it is"
    (api,) = [one for one in compose_containers() if one.where == "compose/api"]
    found = settings_of(api, tmp_path)
    assert (found.host, found.is_secure, found.trusted_proxies) == ("0.0.0.0", False, ())  # noqa: S104  # inside a container


@pytest.mark.parametrize(("overlay", "is_secure"), [("overlays/dev", False), ("overlays/district", True)])
def test_each_overlays_api_starts_and_knows_whether_it_is_behind_https(
    tmp_path: Path, overlay: str, *, is_secure: bool
):
    first_run(tmp_path)
    (api,) = [one for one in kubernetes_containers(build_overlay(overlay)) if one.where == "Deployment/api"]
    assert settings_of(api, tmp_path).is_secure == is_secure
