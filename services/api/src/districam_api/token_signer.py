"""Signs and verifies media URLs and logins with one key that all replicas share."""

import secrets
from collections.abc import Iterable
from pathlib import Path

import structlog

from districam_api.core.keys import Caller
from districam_api.core.tokens import (
    LOGIN_ID_BYTES,
    MEDIA_TTL_US,
    SESSION_TTL_US,
    CheckedToken,
    format_bearer,
    sign,
    signer,
    verify,
)
from districam_common.runtime.settings import read_secret

log = structlog.get_logger()

MIN_TOKEN_KEY_BYTES = 32


def read_token_key(file: Path) -> bytes:
    """Reads the signing key.

    Raises:
        ValueError: the file cannot be read, or is too short to be a secret.
    """
    key = (read_secret(None, file) or "").encode()
    if len(key) < MIN_TOKEN_KEY_BYTES:
        raise ValueError(f"{file} must hold at least {MIN_TOKEN_KEY_BYTES} random characters")
    return key


class TokenSigner:
    """Signs and verifies tokens. Without a file the key is random: a restart invalidates URLs and logins."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._secret = secrets.token_bytes(32) if file is None else read_token_key(file)

    def sign_media_urls(self, keys: Iterable[str], caller: Caller, now_us: int) -> list[str]:
        """Paths of segments' objects, each with a token for 4 hours, but no longer than the caller's login.

        Object keys need no quoting in a URL (`names.segment_object_key`).
        """
        expires_us = now_us + MEDIA_TTL_US
        if caller.expires_us is not None:
            expires_us = min(expires_us, caller.expires_us)
        signed = signer(self._secret, "media", format_bearer(caller.key_id, caller.login), expires_us)
        return [f"/v1/media/{key}?token={signed(key)}" for key in keys]

    def verify_media(self, key: str, token: str, now_us: int) -> CheckedToken:
        return verify(self._secret, "media", key, token, now_us)

    def create_session(self, key_id: str, now_us: int) -> tuple[str, CheckedToken]:
        """A login for 12 hours: its token, and the token's fields. The login's id is not secret."""
        found = CheckedToken("valid", key_id, now_us + SESSION_TTL_US, secrets.token_hex(LOGIN_ID_BYTES))
        bearer = format_bearer(found.key_id, found.login)
        return sign(self._secret, "session", "", bearer, found.expires_us), found

    def verify_session(self, token: str, now_us: int) -> CheckedToken:
        return verify(self._secret, "session", "", token, now_us)

    def refresh(self) -> None:
        """Reads the key file again; the old key stays in use if that fails. Blocking."""
        if self._file is None:
            return
        try:
            self._secret = read_token_key(self._file)
        except ValueError as error:
            log.warning("token key not reloaded", why=str(error))
