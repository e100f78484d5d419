"""Tokens that grant access for a time: HMAC-SHA256 (RFC 2104) over purpose, expiry, bearer and subject.

Media URLs carry one, since players send no custom headers; so does the login cookie.
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
    r"(?P<expiry>0|[1-9]\d{0,18})\.(?P<bearer>(?P<key_id>[0-9a-f]{8}|-)(\.(?P<login>[0-9a-f]{16}))?)\.", re.ASCII
)


@dataclass(frozen=True, slots=True)
class CheckedToken:
    """A token's verdict and its fields, empty if it is forged. `login`: the login that it was made for, if any."""

    verdict: Verdict
    key_id: str = ""
    expires_us: int = 0
    login: str = ""


def format_bearer(key_id: str, login: str = "") -> str:
    """The bearer of a token: a key id, and the login's id (16 hex digits) if there is one."""
    return f"{key_id}.{login}" if login else key_id


def signer(secret: bytes, purpose: Purpose, bearer: str, expires_us: int) -> Callable[[str], str]:
    """Signs many subjects with one bearer and expiry; the common prefix is hashed once. A playlist has hundreds."""
    prefix_mac = hmac.new(secret, f"{purpose}\n{expires_us}\n{bearer}\n".encode(errors="surrogatepass"), "sha256")
    head = f"{expires_us}.{bearer}."

    def signed(subject: str) -> str:
        mac = prefix_mac.copy()
        mac.update(subject.encode(errors="surrogatepass"))
        return head + b2a_base64(mac.digest(), newline=False).translate(_URL_SAFE, b"=").decode()

    return signed


def sign(secret: bytes, purpose: Purpose, subject: str, bearer: str, expires_us: int) -> str:
    """`{expiry in µs}.{bearer}.{43 characters}`, URL-safe. `subject` is the object key, or empty for a login."""
    return signer(secret, purpose, bearer, expires_us)(subject)


def verify(secret: bytes, purpose: Purpose, subject: str, token: str, now_us: int) -> CheckedToken:
    """Verifies `token` for `subject`. Compares the text in constant time: any change is a forgery."""
    head = _HEAD.match(token)
    expires_us, bearer = (int(head["expiry"]), head["bearer"]) if head else (0, "-")
    expected = sign(secret, purpose, subject, bearer, expires_us)
    if head is None or not hmac.compare_digest(expected.encode(), token.encode(errors="replace")):
        return CheckedToken("forged")
    verdict: Verdict = "valid" if now_us < expires_us else "expired"
    return CheckedToken(verdict, head["key_id"], expires_us, head["login"] or "")
