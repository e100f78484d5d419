"""Tokens that open something for a time: HMAC-SHA256 (RFC 2104) over what, for which key, and until when.

Media URLs carry one, since players send no headers of ours; so does the cookie of a login.
"""

import hmac
import re
from binascii import b2a_base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

MEDIA_TTL_US = 4 * 3_600_000_000
SESSION_TTL_US = 12 * 3_600_000_000

Purpose = Literal["media", "session"]
Verdict = Literal["valid", "expired", "forged"]

_URL_SAFE = bytes.maketrans(b"+/", b"-_")
LOGIN_ID_BYTES = 8
_HEAD = re.compile(
    r"(?P<expiry>0|[1-9]\d{0,18})\.(?P<who>(?P<key_id>[0-9a-f]{8}|-)(\.(?P<login>[0-9a-f]{16}))?)\.", re.ASCII
)


@dataclass(frozen=True, slots=True)
class CheckedToken:
    """What a token is worth, and what it says; a forged one says nothing. `login`: the login for which it was made, if any."""

    verdict: Verdict
    key_id: str = ""
    expires_us: int = 0
    login: str = ""


def format_bearer(key_id: str, login: str = "") -> str:
    """For whom a token is: a key, and the login by it if there is one, 16 hex digits."""
    return f"{key_id}.{login}" if login else key_id


def signer(secret: bytes, purpose: Purpose, bearer: str, expires_us: int) -> Callable[[str], str]:
    """Signs many subjects for one bearer and time; what they share is hashed once. A playlist has hundreds."""
    begun = hmac.new(secret, f"{purpose}\n{expires_us}\n{bearer}\n".encode(errors="surrogatepass"), "sha256")
    head = f"{expires_us}.{bearer}."

    def signed(subject: str) -> str:
        mac = begun.copy()
        mac.update(subject.encode(errors="surrogatepass"))
        return head + b2a_base64(mac.digest(), newline=False).translate(_URL_SAFE, b"=").decode()

    return signed


def sign(secret: bytes, purpose: Purpose, subject: str, bearer: str, expires_us: int) -> str:
    """`{expiry in µs}.{who}.{43 characters}`, safe in a URL. `subject` is the object's key, or empty; `bearer`: `bearer`."""
    return signer(secret, purpose, bearer, expires_us)(subject)


def verify(secret: bytes, purpose: Purpose, subject: str, token: str, now_us: int) -> CheckedToken:
    """Whether `token` opens `subject` now. In constant time, and compared as text: any change of it is a forgery."""
    head = _HEAD.match(token)
    expires_us, bearer = (int(head["expiry"]), head["who"]) if head else (0, "-")
    expected = sign(secret, purpose, subject, bearer, expires_us)
    if head is None or not hmac.compare_digest(expected.encode(), token.encode(errors="replace")):
        return CheckedToken("forged")
    verdict: Verdict = "valid" if now_us < expires_us else "expired"
    return CheckedToken(verdict, head["key_id"], expires_us, head["login"] or "")
