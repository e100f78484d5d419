"""The api's settings."""

import re
import ssl
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from districam_api import keyring
from districam_api.core.deadlines import Deadlines
from districam_api.core.forwarded import Header, TrustedProxies
from districam_api.core.invalid_parameter import InvalidParameter
from districam_api.core.times import parse_zone
from districam_api.token_signer import read_token_key
from districam_common.runtime.settings import HealthSettings, ServiceSettings, SettingsBlock

_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", re.ASCII)
"""An origin as browsers serialise it (RFC 6454 section 6.2): lower case, no path."""


class ApiSettings(SettingsBlock):
    """Listening, access and limits of the api.

    Attributes:
        keys_file: API keys, shared by replicas, reloaded when changed; unset: API keys are disabled.
        host: an IP address, never a name. Without keys a loopback address: nothing leaves the machine without a key.
        timezone: zone of local times in answers.
        token_key_file: signs media URLs and logins; shared by replicas, reloaded when changed; unset: a random key.
        settle_s: how far behind `log_us` an instant must be before its state is final (the ledger's `pending`).
        clips_at_once: clips sent at the same time; one more is answered 503.
        clips_per_key: how many of them one key may have.
        connections: maximum open, `connections_per_address` of them from one address (of IPv6: one /64); no more than
            RLIMIT_NOFILE allows (`server.connection_limits`).
        upgraded: maximum connections that no longer speak HTTP, counted apart.
        request_s: time limit of a TLS handshake, of a request's head, and again of its body.
        reader_s: within which a client must read 64 KiB of a response, or the rest of it.
        tls_cert_file: PEM, the certificate and its intermediates; with `tls_key_file`.
        media_cache_s: how long browsers may cache media objects; 0: not at all.
        allowed_origins: origins whose pages may read playlists and media.
        trusted_proxies: networks of proxies whose `forwarded_header` names the client; they must set it themselves.
        public_scheme: scheme by which clients reach the api. `https`: a proxy terminates TLS. `http`: plain HTTP is
            accepted, although keys and footage can be intercepted. Unset: `https` if the api serves TLS, else loopback.
    """

    keys_file: Path | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    timezone: str = "Asia/Ho_Chi_Minh"
    token_key_file: Path | None = None
    settle_s: float = Field(default=75.0, ge=0)
    clips_at_once: int = Field(default=8, ge=1, le=1000)
    clips_per_key: int = Field(default=2, ge=1, le=1000)
    connections: int = Field(default=512, ge=16, le=100_000)
    connections_per_address: int = Field(default=64, ge=1, le=100_000)
    upgraded: int = Field(default=256, ge=1, le=100_000)
    request_s: float = Field(default=10.0, ge=0.1, le=600)
    reader_s: float = Field(default=60.0, ge=0.1, le=3600)
    media_cache_s: int = Field(default=600, ge=0, le=14_400)
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = Field(default=None, validate_default=True)
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = Field(default=(), validate_default=True)
    forwarded_header: Header = "x-forwarded-for"
    public_scheme: Literal["http", "https"] | None = Field(default=None, validate_default=True)

    @property
    def is_secure(self) -> bool:
        """Whether people reach it by HTTPS alone."""
        return self.tls_cert_file is not None or self.public_scheme == "https"

    @property
    def proxies(self) -> TrustedProxies:
        return TrustedProxies(self.trusted_proxies, self.forwarded_header)

    @property
    def media_cache_control(self) -> str:
        """The Cache-Control of objects, which never change."""
        return f"private, max-age={self.media_cache_s}, immutable" if self.media_cache_s else "no-store"

    @property
    def deadlines(self) -> Deadlines:
        return Deadlines(round(self.request_s * 1e6), round(self.reader_s * 1e6))

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            return parse_zone(name).key
        except InvalidParameter as error:
            raise ValueError(error.errors[0].message) from error

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(
                    f"{network[:100]!r} is not a network ({error}); write each such as 10.0.3.0/24 or 10.0.3.7"
                ) from None
        return networks

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin[:100]!r} is not an origin; write each such as https://wall.example:8443")
        return origins


class ServedApiSettings(ApiSettings):
    """The settings validated for serving: files exist and are usable."""

    @field_validator("keys_file")
    @classmethod
    def _usable_keys(cls, file: Path | None) -> Path | None:
        if file is None:
            return None
        try:
            keyring.read(file)
        except ValueError as error:
            raise ValueError(f"{error}; create it with `districam-api keys create`") from error
        return file

    @field_validator("host")
    @classmethod
    def _loopback_unless_keys(cls, host: str, info: ValidationInfo) -> str:
        """Requires an IP address: what a name resolves to is not under this setting's control."""
        host = "127.0.0.1" if host == "localhost" else host
        try:
            is_loopback = ip_address(host).is_loopback
        except ValueError:
            raise ValueError("is not an IP address; write 127.0.0.1, or another address of this machine") from None
        file: Path | None = info.data.get("keys_file")
        if not is_loopback and not (file and any(k.revoked_us is None for k in keyring.read(file))):
            raise ValueError(
                "without API keys the api serves loopback only, such as 127.0.0.1 or ::1; set "
                "DISTRICAM_API__KEYS_FILE and create a key with `districam-api keys create --role operator --name …`"
            )
        return host

    @field_validator("trusted_proxies")
    @classmethod
    def _keys_behind_proxies(cls, networks: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Without keys every loopback caller is an operator; so would be each client of a local proxy."""
        if networks and info.data.get("keys_file", ...) is None:
            raise ValueError("API keys are required behind a proxy: set DISTRICAM_API__KEYS_FILE")
        return networks

    @field_validator("public_scheme")
    @classmethod
    def _plain_http_is_explicit(cls, scheme: str | None, info: ValidationInfo) -> str | None:
        host: str | None = info.data.get("host")
        is_open = host is not None and not ip_address(host).is_loopback
        if is_open and scheme is None and info.data.get("tls_cert_file", ...) is None:
            raise ValueError(
                f"is not set, so keys, logins and footage would be sent over plain HTTP at {host}; set DISTRICAM_API__TLS_CERT_FILE "
                "and DISTRICAM_API__TLS_KEY_FILE, or this to https if a proxy terminates TLS, or to http to allow plain HTTP"
            )
        return scheme

    @field_validator("token_key_file")
    @classmethod
    def _usable_key(cls, file: Path | None) -> Path | None:
        if file is not None:
            read_token_key(file)
        return file

    @field_validator("tls_key_file")
    @classmethod
    def _usable_pair(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        certificate: Path | None = info.data.get("tls_cert_file")
        if (key is None) != (certificate is None):
            raise ValueError("needs DISTRICAM_API__TLS_CERT_FILE too; set both, or neither for plain HTTP")
        if key and certificate:
            _load(certificate, key)
        return key


def _load(certificate: Path, key: Path) -> None:
    try:
        for file in (certificate, key):
            file.read_bytes()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password="")  # else OpenSSL asks the terminal for a passphrase
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{key} and {certificate} must be a key and its certificate in PEM, without a passphrase ({error})"
        ) from error


class KeysSettings(ServiceSettings):
    """Settings of `districam-api keys`; the key file need not exist yet."""

    health: HealthSettings = HealthSettings(port=9104)
    api: ApiSettings = ApiSettings()


class Settings(ServiceSettings):
    """Settings of the service."""

    health: HealthSettings = HealthSettings(port=9104)
    api: ServedApiSettings = ServedApiSettings()
