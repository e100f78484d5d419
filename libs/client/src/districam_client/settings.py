"""The command's settings: options and `DISTRICAM_CLIENT__…` variables; options take precedence."""

import difflib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from districam_client.errors import UsageError

PREFIX = "DISTRICAM_CLIENT__"
FIELDS = {"url": "--url", "key_file": "--key-file", "ca_file": "--ca-file", "timezone": "--tz"}
"""The option of each field."""
VARIABLES = {name: PREFIX + name.upper() for name in FIELDS}
DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Settings:
    """The api's address, its key, the CA of its certificate, and the zone of local times (None: the api's)."""

    url: str
    key: str | None
    ca_file: Path | None
    zone: ZoneInfo | None


def load_settings(environ: Mapping[str, str], options: Mapping[str, str | None]) -> Settings:
    """Reads the settings from options (by field), else from variables.

    Raises:
        UsageError: an unknown variable with this prefix, an invalid URL, an unreadable file, or an unknown zone.
    """
    _check_names(environ)
    url = _chosen(environ, options, "url")
    key_file = _chosen(environ, options, "key_file")
    ca_file = _chosen(environ, options, "ca_file")
    tz = _chosen(environ, options, "timezone")
    return Settings(
        _url(url.value, url.source) if url else DEFAULT_URL,
        _key(key_file.value, key_file.source) if key_file else None,
        _ca_file(ca_file.value, ca_file.source) if ca_file else None,
        parse_zone(tz.value, tz.source) if tz else None,
    )


@dataclass(frozen=True, slots=True)
class _SourcedValue:
    """A value, and the option or variable that it comes from."""

    value: str
    source: str


def parse_zone(name: str, source: str) -> ZoneInfo:
    """The IANA zone of that name.

    Raises:
        UsageError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"{source}: {name[:60]!r} is not an IANA time zone; write one such as Asia/Ho_Chi_Minh"
        ) from error


def _check_names(environ: Mapping[str, str]) -> None:
    for name in environ:
        if name.upper().startswith(PREFIX) and name not in VARIABLES.values():
            close = difflib.get_close_matches(name.upper(), VARIABLES.values(), n=1)
            raise UsageError(f"{name}: no such setting; {f'did you mean {close[0]}?' if close else 'remove it'}")


def _chosen(environ: Mapping[str, str], options: Mapping[str, str | None], field: str) -> _SourcedValue | None:
    option, variable = options[field], environ.get(VARIABLES[field])
    if option is not None:
        return _SourcedValue(option, FIELDS[field])
    return None if variable is None else _SourcedValue(variable, VARIABLES[field])


def _url(url: str, source: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{source}: write the api's address, such as {DEFAULT_URL}")
    if "@" in parts.netloc:
        raise UsageError(f"{source}: must not contain a user or password; pass a key with --key-file")
    return url.rstrip("/")


def _key(file: str, source: str) -> str:
    try:
        key = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source}: the key file cannot be read: {error}") from error
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"{source}: {file} must hold a key and nothing else")
    return key


def _ca_file(file: str, source: str) -> Path:
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        raise UsageError(f"{source}: {file} has no readable certificates: {error}") from error
    return Path(file)
