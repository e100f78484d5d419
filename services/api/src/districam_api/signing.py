"""What this api signs: media URLs and logins, with one key that all replicas share."""

import secrets
from collections.abc import Iterable
from pathlib import Path

import structlog

from districam_api.core.keys import Caller
from districam_api.core.tokens import LOGIN_BYTES, MEDIA_US, SESSION_US, Checked, bearer, sign, signer, verify
from districam_common.runtime.settings import secret

log = structlog.get_logger()

SHORTEST_TOKEN_KEY = 32


def token_key(file: Path) -> bytes:
    """The key that signs.

    Raises:
        ValueError: the file cannot be read, or is too short to be a secret.
    """
    key = (secret(None, file) or "").encode()
    if len(key) < SHORTEST_TOKEN_KEY:
        raise ValueError(f"{file} must hold at least {SHORTEST_TOKEN_KEY} random characters")
    return key


class Signing:
    """Signs and checks. Without a file the key is random, and a restart ends all URLs and logins."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._secret = secrets.token_bytes(32) if file is None else token_key(file)

    def media_urls(self, keys: Iterable[str], caller: Caller, now_us: int) -> list[str]:
        """The paths of segments' objects, each with a token for 4 hours from now, and no longer than the caller's login.

        A segment's key is written as it stands: nothing in it needs quoting (`names.segment_key`).
        """
        expires_us = now_us + MEDIA_US
        if caller.expires_us is not None:
            expires_us = min(expires_us, caller.expires_us)
        signed = signer(self._secret, "media", bearer(caller.key_id, caller.login), expires_us)
        return [f"/v1/media/{key}?token={signed(key)}" for key in keys]

    def media(self, key: str, token: str, now_us: int) -> Checked:
        return verify(self._secret, "media", key, token, now_us)

    def new_session(self, key_id: str, now_us: int) -> tuple[str, Checked]:
        """A login of 12 hours from now, and what it says. Its id is no secret: it only tells logins apart."""
        found = Checked("valid", key_id, now_us + SESSION_US, secrets.token_hex(LOGIN_BYTES))
        who = bearer(found.key_id, found.login)
        return sign(self._secret, "session", "", who, found.expires_us), found

    def session(self, token: str, now_us: int) -> Checked:
        return verify(self._secret, "session", "", token, now_us)

    def reread(self) -> None:
        """Takes up a key that has changed; one that cannot be read leaves the old in force. Reads a file."""
        if self._file is None:
            return
        try:
            self._secret = token_key(self._file)
        except ValueError as error:
            log.warning("token key not taken up", why=str(error))
