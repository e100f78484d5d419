"""Tokens that open something for a time: HMAC-SHA256 (RFC 2104) over what, for which key, and until when.

Media URLs carry one, since players send no headers of ours; so does the cookie of a login.
"""

import hmac
import re
from binascii import b2a_base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

MEDIA_US = 24 * 3_600_000_000
SESSION_US = 12 * 3_600_000_000

Purpose = Literal["media", "session"]
Verdict = Literal["valid", "expired", "forged"]

_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_HEAD = re.compile(r"(?P<expiry>0|[1-9]\d{0,18})\.(?P<key_id>[0-9a-f]{8}|-)\.", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a token is worth, and what it says; a forged one says nothing."""

    verdict: Verdict
    key_id: str = ""
    expires_us: int = 0


def signer(secret: bytes, purpose: Purpose, key_id: str, expires_us: int) -> Callable[[str], str]:
    """Signs many subjects for one key and time; what they share is hashed once. A playlist has hundreds."""
    begun = hmac.new(secret, f"{purpose}\n{expires_us}\n{key_id}\n".encode(errors="surrogatepass"), "sha256")
    head = f"{expires_us}.{key_id}."

    def signed(subject: str) -> str:
        mac = begun.copy()
        mac.update(subject.encode(errors="surrogatepass"))
        return head + b2a_base64(mac.digest(), newline=False).translate(_URL_SAFE, b"=").decode()

    return signed


def sign(secret: bytes, purpose: Purpose, subject: str, key_id: str, expires_us: int) -> str:
    """`{expiry in µs}.{key id}.{43 characters}`, safe in a URL. `subject` is the object's key, or empty."""
    return signer(secret, purpose, key_id, expires_us)(subject)


def verify(secret: bytes, purpose: Purpose, subject: str, token: str, now_us: int) -> Checked:
    """Whether `token` opens `subject` now. In constant time, and compared as text: any change of it is a forgery."""
    head = _HEAD.match(token)
    expires_us, key_id = (int(head["expiry"]), head["key_id"]) if head else (0, "-")
    wanted = sign(secret, purpose, subject, key_id, expires_us)
    if not hmac.compare_digest(wanted.encode(), token.encode(errors="replace")):
        return Checked("forged")
    return Checked("valid" if now_us < expires_us else "expired", key_id, expires_us)
