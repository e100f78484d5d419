"""Tokens of media URLs: HMAC-SHA256 (RFC 2104) over the object's key and an expiry, since players send no headers."""

import hmac
from base64 import urlsafe_b64encode
from typing import Literal

LIFETIME_US = 24 * 3_600_000_000

Verdict = Literal["valid", "expired", "forged"]


def sign(secret: bytes, key: str, expires_us: int) -> str:
    """`{expiry in µs}.{43 characters}`, safe in a URL."""
    digest = hmac.digest(secret, f"{expires_us}\n{key}".encode(), "sha256")
    return f"{expires_us}.{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def verify(secret: bytes, key: str, token: str, now_us: int) -> Verdict:
    """Whether `token` opens `key` now. In constant time, and compared as text: any change of it is a forgery."""
    expiry = token.partition(".")[0]
    expires_us = int(expiry) if expiry.isascii() and expiry.isdigit() and len(expiry) < 20 else 0
    if not hmac.compare_digest(sign(secret, key, expires_us).encode(), token.encode(errors="replace")):
        return "forged"
    return "valid" if now_us < expires_us else "expired"
