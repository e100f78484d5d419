"""Checks that containers run without root, write access and capabilities, and expose no secret."""

import asyncio
from typing import Any, cast

from compose.engine import ROOT
from compose.stack import Stack
from districam_devkit.services import SERVICES

SECRETS = ("s3-secret-key", "redis-password", "grafana-password")


async def sealed(stack: Stack) -> dict[str, object]:
    """Returns the findings. Raises AssertionError."""
    return await asyncio.to_thread(_sealed, stack)


def _sealed(stack: Stack) -> dict[str, object]:
    secrets = [(ROOT / "deploy/secrets" / name).read_text() for name in SECRETS]
    secrets.append(stack.key())
    left = stack.compose("exec", "-T", "api", "ls", "/var/lib/districam").split()
    assert sorted(left) == ["keys.json", "token-key"], left
    for service in SERVICES:
        found: dict[str, Any] = cast("dict[str, Any]", stack.inspected(service))
        host = found["HostConfig"]
        assert found["Config"]["User"] == "10001:10001", service
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        assert not host["Privileged"], service
        assert host["SecurityOpt"] == ["no-new-privileges:true"], service
        assert _capabilities(stack, service) == 0, service
        seen = [str(found), stack.docker("history", "--no-trunc", found["Image"]), stack.compose("logs", service)]
        for secret in secrets:
            assert not any(secret in text for text in seen), service
    published = [line for line in stack.docker("ps", "--format", "{{.Ports}}").splitlines() if "->" in line]
    assert published == [f"127.0.0.1:{stack.port}->8080/tcp"], published
    return {"services": list(SERVICES), "published": published}


def _capabilities(stack: Stack, service: str) -> int:
    status = stack.compose("exec", "-T", service, "cat", "/proc/1/status")
    held = [line.split()[1] for line in status.splitlines() if line.startswith(("CapPrm", "CapEff", "CapBnd"))]
    assert len(held) == 3
    return sum(int(one, 16) for one in held)
