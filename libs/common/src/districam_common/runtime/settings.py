"""Settings of every service: read once from `DISTRICAM_<BLOCK>__<FIELD>` variables, passed on as frozen values.

A secret can be read from a file instead: each has a second field that ends in `_file`. The variables of all programs may
be in one environment, so each program ignores those of the others; a variable that no program has is an error.
"""

import difflib
import os
import ssl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from districam_common.contract.names import MAX_LOCK_H
from districam_common.runtime.known_variables import KNOWN_VARIABLES

PREFIX = "DISTRICAM_"
DELIMITER = "__"
SITE_PATTERN = r"^[a-z0-9][a-z0-9-]{0,30}$"


class SettingsError(Exception):
    """The process cannot start as configured (exit code 2). The message names the variable and the fix."""


class SettingsBlock(BaseModel):
    """Base of the groups of settings. Checks that a secret has one source, and that its file can be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _check_secret_sources(self) -> Self:
        for name in type(self).model_fields:
            file = getattr(self, f"{name}_file", None)
            if file is None:
                continue
            if getattr(self, name) is not None:
                raise ValueError(f"{name} and {name}_file are both set; keep one")
            _read_secret_file(file)
        return self


def read_secret(value: SecretStr | None, file: Path | None) -> str | None:
    """The secret's text, from `value` or from the file; None if neither is set.

    Raises:
        ValueError: the file cannot be read, or is empty.
    """
    if file is not None:
        return _read_secret_file(file)
    return None if value is None else value.get_secret_value()


def _read_secret_file(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the secret file {file} cannot be read: {error}") from error
    if not text:
        raise ValueError(f"the secret file {file} is empty")
    return text


def _validate_ca_file(path: Path | None) -> Path | None:
    if path is None:
        return None
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ValueError(f"{path} contains no readable certificates: {error.strerror or error}") from None
    return path


CaFile = Annotated[Path | None, AfterValidator(_validate_ca_file)]
"""A file of trusted CA certificates (PEM)."""


class KafkaSettings(SettingsBlock):
    """Connection, security and timeouts of Kafka clients."""

    bootstrap_servers: str = Field(default="localhost:9092", min_length=1)
    idempotent: bool = True
    session_timeout_s: float = Field(default=10.0, gt=0)
    heartbeat_s: float = Field(default=1.0, gt=0)
    request_timeout_s: float = Field(default=10.0, gt=0)
    skip_unreadable: bool = True
    """Skip and report batches that no replica can return intact; false: aiokafka's own fetcher, which stops at them."""
    max_request_bytes: int = Field(default=(8 << 20) + (64 << 10), gt=0)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_password_file: Path | None = None
    ca_file: CaFile = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heartbeat_s * 3 > self.session_timeout_s:
            raise ValueError("heartbeat_s must be at most a third of session_timeout_s")
        if self.security_protocol.startswith("SASL"):
            has_password = self.sasl_password is not None or self.sasl_password_file is not None
            if self.sasl_username is None or not has_password:
                raise ValueError("sasl_username and sasl_password (or sasl_password_file) are needed for SASL")
        return self


class S3Settings(SettingsBlock):
    """Connection, bucket and capabilities of the object store."""

    endpoint: str = Field(default="http://localhost:9000", pattern=r"^https?://[^/@\s]+/?$")
    access_key: str | None = None
    secret_key: SecretStr | None = None
    secret_key_file: Path | None = None
    bucket: str = Field(default="districam", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    region: str = "us-east-1"
    object_lock: bool = True
    conditional_put: bool = True
    """Write keys once by `If-None-Match: *`; false: by a HEAD before the PUT, for stores without conditional writes."""
    threads: int = Field(default=8, gt=0, le=256)
    timeout_s: float = Field(default=15.0, gt=0)
    ca_file: CaFile = None


class RedisSettings(SettingsBlock):
    """Connection of Valkey or Redis."""

    url: str = Field(default="redis://localhost:6379/0", pattern=r"^(rediss?|unix)://[^@]*$")
    password: SecretStr | None = None
    password_file: Path | None = None
    ca_file: CaFile = None
    """CA certificates for `rediss`; None: those that the system trusts."""
    pool: int = Field(default=16, gt=0)
    timeout_s: float = Field(default=5.0, gt=0)

    @model_validator(mode="after")
    def _ca_file_has_a_use(self) -> Self:
        if self.ca_file is not None and not self.url.startswith("rediss://"):
            raise ValueError("ca_file is for TLS; write the url as rediss://…")
        return self


class TopicsSettings(SettingsBlock):
    """Partitions, replication and retention of the topics; partitions apply to new topics only."""

    partitions: int = Field(default=60, gt=0)
    small_partitions: int = Field(default=12, gt=0)
    replication_factor: int = Field(default=1, gt=0)
    min_insync_replicas: int = Field(default=1, gt=0)
    fragments_retention_h: float = Field(default=6.0, gt=0)
    fragments_retention_bytes: int = Field(default=64 << 30, ge=-1)
    """Per partition; enough for six hours of six cameras of 4 Mbit/s in one partition. -1: no limit."""
    fragments_max_bytes: int = Field(default=9 << 20, gt=0)
    keyframes_retention_h: float = Field(default=6.0, gt=0)
    segments_retention_days: float = Field(default=35.0, gt=0)
    """Of `segments`, `streams` and `retention`."""
    streams_retention_bytes: int = Field(default=8 << 30, ge=-1)
    """Per partition; enough for 35 days of `refused` events of 80 cameras that are always unreachable. -1: no limit."""
    deadletters_retention_days: float = Field(default=35.0, gt=0)
    deadletters_retention_bytes: int = Field(default=256 << 20, ge=-1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.partitions % self.small_partitions:
            raise ValueError("small_partitions must divide partitions")
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError("min_insync_replicas must not exceed replication_factor")
        return self


class LockSettings(SettingsBlock):
    """How long new footage is locked. The recorder locks it and retention skips it, so both need this setting."""

    lock_h: float = Field(default=24.0, ge=0, le=MAX_LOCK_H)
    """Hours of S3 Object Lock (COMPLIANCE) after recording, during which nobody can delete or change it; 0: no lock."""

    @property
    def lock_us(self) -> int:
        return round(self.lock_h * 3600e6)


class LogSettings(SettingsBlock):
    """Level and format of logs; `auto`: `console` on a terminal, else `json`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class HealthSettings(SettingsBlock):
    """Address of /healthz, /readyz and /metrics; port 0 selects a free one."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)


class ServiceSettings(BaseSettings):
    """Settings common to all services; each adds its own blocks. Only `load` reads the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        nested_model_default_partial_update=True,
        frozen=True,
        extra="forbid",
    )

    site: str = Field(default="local", pattern=SITE_PATTERN)
    stop_timeout_s: float = Field(default=40.0, gt=0)
    kafka: KafkaSettings = KafkaSettings()
    s3: S3Settings = S3Settings()
    redis: RedisSettings = RedisSettings()
    log: LogSettings = LogSettings()
    health: HealthSettings = HealthSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # likewise
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # likewise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


S = TypeVar("S", bound=ServiceSettings)


def load(kind: type[S], environ: Mapping[str, str] | None = None) -> S:
    """The settings from `environ`, by default the process's environment.

    Raises:
        SettingsError: unknown variables, or invalid or missing values; one line per problem.
    """
    given = os.environ if environ is None else environ  # noqa: TID251  # the one reader of the environment
    own = variable_names(kind)
    known = KNOWN_VARIABLES.union(own)
    unknown = [name for name in given if name.upper().startswith(PREFIX) and name not in known]
    if unknown:
        raise SettingsError("\n".join(_unknown(name, known) for name in unknown))
    source = EnvSettingsSource(kind)
    source.env_vars = {name.lower(): given[name] for name in own if name in given}
    try:
        return kind(**source())
    except ValidationError as error:
        raise SettingsError("\n".join(_format_problem(kind, dict(one)) for one in error.errors())) from None
    except UnreadableVariable as error:
        raise SettingsError(f"{error}; write lists as JSON") from None


def variable_names(kind: type[BaseModel]) -> list[str]:
    """Names of all variables that `load` reads for these settings."""
    return [variable_name(*path) for path in _field_paths(kind)]


def variable_name(*path: str) -> str:
    """The variable of a field: `variable_name("s3", "bucket")` is `DISTRICAM_S3__BUCKET`."""
    return PREFIX + DELIMITER.join(path).upper()


def _field_paths(kind: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    for name, field in kind.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from ((name, *rest) for rest in _field_paths(annotation))
        else:
            yield (name,)


def _unknown(name: str, known: Iterable[str]) -> str:
    bare = [one.removeprefix(PREFIX) for one in sorted(known)]
    close = difflib.get_close_matches(name.upper().removeprefix(PREFIX), bare, n=1)
    hint = f"did you mean {PREFIX}{close[0]}?" if close else "remove it"
    return f"{name}: no such setting; {hint}"


def _format_problem(kind: type[BaseModel], error: Mapping[str, Any]) -> str:
    """One validation error as text, without the given value, which may be a secret."""
    path = [str(part) for part in error["loc"]]
    message = str(error["msg"]).removeprefix("Value error, ")
    leaf = variable_name(*path)
    if leaf in variable_names(kind):
        return f"{leaf}: {message}"
    return f"{leaf}{DELIMITER}*: {message}"
