"""Basic and Digest authentication of RTSP requests (RFC 7617, 2617 and 7616). Pure."""

import base64
import hashlib
import hmac
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

Algorithm = Literal["MD5", "SHA-256"]
Scheme = Literal["digest", "basic"]

REALM = "simcam"
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


@dataclass(frozen=True, slots=True)
class Credentials:
    """User, password and scheme that the cameras require. Without `qop`, Digest is that of RFC 2069."""

    user: str
    password: str = field(repr=False)
    schemes: tuple[Scheme, ...] = ("digest", "basic")
    algorithm: Algorithm = "MD5"
    qop: bool = True


@dataclass(frozen=True, slots=True)
class Digest:
    """Fields of a client's Digest header (RFC 7616, 3.4)."""

    username: str
    realm: str
    nonce: str
    uri: str
    qop: str | None = None
    nc: str = ""
    cnonce: str = ""


def challenges(credentials: Credentials, nonce: str, quirks: Collection[str] = ()) -> list[str]:
    """Returns the values of `WWW-Authenticate`, one per scheme, in the camera's order of preference."""
    qop = ', qop="auth"' if credentials.qop else ""
    realm = realm_of(quirks)
    digest = f'Digest realm="{realm}", nonce="{nonce}", algorithm={credentials.algorithm}{qop}'
    if "terse-challenge" in quirks:
        digest = f'Digest realm="{realm}",nonce="{nonce}", stale="FALSE"'
    known = {"digest": digest, "basic": f'Basic realm="{realm}"'}
    schemes: tuple[Scheme, ...] = ("basic", "digest") if "basic-refused" in quirks else credentials.schemes
    return [known[scheme] for scheme in schemes]


def realm_of(quirks: Collection[str]) -> str:
    """Returns the realm of the challenges."""
    return "Login to IP Camera(C2189), 1" if "terse-challenge" in quirks else REALM


def is_authorized(
    credentials: Credentials, header: str, *, method: str, nonce: str, quirks: Collection[str] = ()
) -> bool:
    """Whether an `Authorization` value proves the password. `nonce` is the one issued to this connection."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() not in credentials.schemes or (scheme.lower() == "basic" and "basic-refused" in quirks):
        return False
    if scheme.lower() == "basic":
        expected = base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()
        return hmac.compare_digest(rest.strip().encode(), expected.encode())
    parameters = _parameters(rest)
    digest = Digest(
        parameters.get("username", ""),
        realm_of(quirks),
        nonce,
        parameters.get("uri", ""),
        parameters.get("qop"),
        parameters.get("nc", ""),
        parameters.get("cnonce", ""),
    )
    if digest.username != credentials.user or parameters.get("nonce") != nonce:
        return False
    algorithm = "MD5" if "terse-challenge" in quirks else credentials.algorithm
    expected = digest_response(digest, credentials.password, method, algorithm)
    return hmac.compare_digest(parameters.get("response", "").encode(), expected.encode())


def digest_response(digest: Digest, password: str, method: str, algorithm: Algorithm = "MD5") -> str:
    """Returns the `response` that proves the password (RFC 7616, 3.4.1; without qop RFC 2069)."""
    secret = _hash(algorithm, (digest.username, digest.realm, password))
    request = _hash(algorithm, (method, digest.uri))
    if digest.qop is None:
        return _hash(algorithm, (secret, digest.nonce, request))
    return _hash(algorithm, (secret, digest.nonce, digest.nc, digest.cnonce, digest.qop, request))


def _hash(algorithm: Algorithm, parts: Sequence[str]) -> str:
    name = "md5" if algorithm == "MD5" else "sha256"
    return hashlib.new(name, ":".join(parts).encode(), usedforsecurity=False).hexdigest()


def _parameters(text: str) -> dict[str, str]:
    return {match[1].lower(): match[3] if match[2] is None else match[2] for match in _PARAMETER.finditer(text)}
