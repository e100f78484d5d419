"""Bearer keys: `dc_{id}_{secret}`. Of a secret only its hash is kept."""

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
"""The key id of requests that need none."""

_FORM = re.compile(r"dc_(?P<id>[0-9a-f]{8})_(?P<secret>[A-Za-z0-9_-]{43})", re.ASCII)
_DUMMY_DIGEST = "0" * 64


class NoSuchKey(Rejected):
    """No key has that id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is kept of a key. `sha256` is that of the secret's text; `revoked_us`: since when it opens nothing."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    name: Annotated[str, Field(max_length=200)]
    role: Role
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created_us: int
    revoked_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and how that is known. `login`, `expires_us`: of a login; `open`: nobody is asked for a key here."""

    auth_method: Literal["bearer", "cookie", "open", "nobody"]
    role: Role
    key_id: str = NO_KEY
    name: str = ""
    expires_us: int | None = None
    login: str = ""


ANONYMOUS = Caller(auth_method="nobody", role="viewer")
"""Who is let in without a key, to what is open to all."""
LOOPBACK_OPERATOR = Caller(auth_method="open", role="operator")
"""Who asks an api without keys, on loopback."""


def create_key(id_: bytes, secret: bytes, *, name: str, role: Role, now_us: int) -> tuple[Key, str]:
    """A key, and the text that opens; `id_` and `secret` are random bytes."""
    text = urlsafe_b64encode(secret).rstrip(b"=").decode()
    key = Key(id=id_.hex(), name=name, role=role, sha256=_digest(text), created_us=now_us)
    return key, f"dc_{key.id}_{text}"


def verify_key(keys: Mapping[str, Key], text: str) -> Key | None:
    """The key that `text` is, unless it is revoked. Takes as long whatever is wrong with it."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    key = keys.get(match["id"])
    is_right = hmac.compare_digest(_digest(match["secret"]), key.sha256 if key else _DUMMY_DIGEST)
    return key if is_right and key and key.revoked_us is None else None


def claimed_id(text: str) -> str:
    """The id that `text` claims, for logs; `-` for what has not a key's form."""
    match = _FORM.fullmatch(text)
    return match["id"] if match else NO_KEY


def revoke(keys: Iterable[Key], key_id: str, now_us: int) -> list[Key]:
    """The keys, of which that one opens nothing any more. Repeating it changes nothing.

    Raises:
        NoSuchKey: none has that id.
    """
    found = list(keys)
    if key_id not in {key.id for key in found}:
        raise NoSuchKey(f"there is no key {key_id[:40]!r}; `districam-api keys list` shows them")
    return [replace(key, revoked_us=now_us) if key.id == key_id and key.revoked_us is None else key for key in found]


def _digest(secret: str) -> str:
    # One round of SHA-256 without salt is right here: slow hashes are for passwords, which can be guessed. These are
    # 256 random bits; nobody finds one by trying, and no table holds them.
    return hashlib.sha256(secret.encode()).hexdigest()
