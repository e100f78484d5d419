"""The api's settings."""

from ipaddress import ip_address
from pathlib import Path

from pydantic import Field, field_validator

from districam_api.core.asked import Unacceptable
from districam_api.core.times import zone_of
from districam_common.settings import Block, HealthSettings, ServiceSettings, secret

SHORTEST_TOKEN_KEY = 32


class ApiBlock(Block):
    """Where and how to answer.

    Attributes:
        host: a loopback address: this version has no keys, and nothing leaves the machine without one.
        timezone: in which answers say local times.
        keys_file: bearer keys; reserved, and refused until they can be checked.
        token_key_file: signs media URLs, shared by replicas, re-read when it changes; unset: a random key.
        settle_s: how long after the truth has passed an instant it may still change (the ledger's `pending`).
        clips_at_once: clips that are being sent; who asks for one more is told to come back.
    """

    keys_file: Path | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    timezone: str = "Asia/Ho_Chi_Minh"
    token_key_file: Path | None = None
    settle_s: float = Field(default=75.0, ge=0)
    clips_at_once: int = Field(default=8, ge=1, le=1000)

    @field_validator("keys_file")
    @classmethod
    def _no_keys_yet(cls, file: Path | None) -> None:
        if file is not None:
            raise ValueError(
                "this version cannot check bearer keys; unset it and serve on a loopback address"
            )

    @field_validator("host")
    @classmethod
    def _loopback_only(cls, host: str) -> str:
        """An address, never a name: what a name means is decided elsewhere."""
        host = "127.0.0.1" if host == "localhost" else host
        try:
            is_loopback = ip_address(host).is_loopback
        except ValueError:
            is_loopback = False
        if not is_loopback:
            raise ValueError(
                "without keys (DISTRICAM_API__KEYS_FILE, not in this version) the api answers on loopback only, "
                "such as 127.0.0.1 or ::1"
            )
        return host

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            return zone_of(name).key
        except Unacceptable as error:
            raise ValueError(error.errors[0].message) from error

    @field_validator("token_key_file")
    @classmethod
    def _usable_key(cls, file: Path | None) -> Path | None:
        if file is not None:
            token_key(file)
        return file


def token_key(file: Path) -> bytes:
    """The key that signs media URLs.

    Raises:
        ValueError: the file cannot be read, or is too short to be a secret.
    """
    key = (secret(None, file) or "").encode()
    if len(key) < SHORTEST_TOKEN_KEY:
        raise ValueError(f"{file} must hold at least {SHORTEST_TOKEN_KEY} random characters")
    return key


class ApiSettings(ServiceSettings):
    """All that the api reads."""

    health: HealthSettings = HealthSettings(port=9104)
    api: ApiBlock = ApiBlock()
