"""API keys: `dc_{id}_{secret}`. Only a hash of the secret is stored."""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from districam_common.errors import Rejected

Role = Literal["viewer", "operator"]
ROLES: tuple[Role, ...] = ("viewer", "operator")

ID_BYTES, SECRET_BYTES = 4, 32
NO_KEY = "-"
"""Key id of requests without a key."""

_KEY_PATTERN = re.compile(r"dc_(?P<id>[0-9a-f]{8})_(?P<secret>[A-Za-z0-9_-]{43})", re.ASCII)
_DUMMY_DIGEST = "0" * 64


class NoSuchKey(Rejected):
    """No key has that id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A stored key. `sha256` is that of the secret's text; `revoked_us`: when it was revoked."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    name: Annotated[str, Field(max_length=200)]
    role: Role
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created_us: int
    revoked_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A caller and its authentication. `login`, `expires_us`: of a cookie login; `open`: keys are disabled."""

    auth_method: Literal["bearer", "cookie", "open", "anonymous"]
    role: Role
    key_id: str = NO_KEY
    name: str = ""
    expires_us: int | None = None
    login: str = ""


ANONYMOUS = Caller(auth_method="anonymous", role="viewer")
"""The caller on public paths."""
LOOPBACK_OPERATOR = Caller(auth_method="open", role="operator")
"""The caller if API keys are disabled."""


def create_key(id_: bytes, secret: bytes, *, name: str, role: Role, now_us: int) -> tuple[Key, str]:
    """A new key and its text; `id_` and `secret` are random bytes."""
    text = urlsafe_b64encode(secret).rstrip(b"=").decode()
    key = Key(id=id_.hex(), name=name, role=role, sha256=_digest(text), created_us=now_us)
    return key, f"dc_{key.id}_{text}"


def verify_key(keys: Mapping[str, Key], text: str) -> Key | None:
    """The active key with this text, or None. Takes as long for an unknown id as for a wrong secret."""
    match = _KEY_PATTERN.fullmatch(text)
    if match is None:
        return None
    key = keys.get(match["id"])
    is_match = hmac.compare_digest(_digest(match["secret"]), key.sha256 if key else _DUMMY_DIGEST)
    return key if is_match and key and key.revoked_us is None else None


def claimed_id(text: str) -> str:
    """The id in `text`, for logs; `-` if it does not have the form of a key."""
    match = _KEY_PATTERN.fullmatch(text)
    return match["id"] if match else NO_KEY


def revoke(keys: Iterable[Key], key_id: str, now_us: int) -> list[Key]:
    """The keys, with that one revoked. Idempotent.

    Raises:
        NoSuchKey: none has that id.
    """
    found = list(keys)
    if key_id not in {key.id for key in found}:
        raise NoSuchKey(f"there is no key {key_id[:40]!r}; `districam-api keys list` shows them")
    return [replace(key, revoked_us=now_us) if key.id == key_id and key.revoked_us is None else key for key in found]


def _digest(secret: str) -> str:
    # One unsalted round of SHA-256 is enough: slow hashes protect passwords, which can be guessed; this is 256 random
    # bits, which neither guessing nor a table finds.
    return hashlib.sha256(secret.encode()).hexdigest()
