"""Basic (RFC 7617) and Digest authentication (RFC 2617 with MD5, RFC 7616 with SHA-256 and `-sess`)."""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from districam_common.runtime.credentials import Credential

_SCHEME = re.compile(r"(?:^|,)\s*(Basic|Digest)(?:\s+|$)", re.IGNORECASE)
_PARAMETER = re.compile(r'(?<![\w-])([\w-]{1,64})\s{0,8}=\s{0,8}(?:"((?:[^"\\]|\\.)*)"|([^\s,]*))')
"""Names start at a word boundary and are bounded, so that matching a long word takes linear time."""
_ESCAPED = re.compile(r"\\(.)")
_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a `WWW-Authenticate` header.

    Attributes:
        scheme: `basic` or `digest`.
        algorithm: as the server writes it; empty if absent, which means MD5.
        has_qop: whether `qop=auth` is offered; without it the response is computed as in RFC 2069.
        is_stale: `stale=true`: the nonce has expired, the password was accepted.
    """

    scheme: str
    realm: str
    nonce: str = ""
    opaque: str | None = None
    algorithm: str = ""
    has_qop: bool = False
    is_stale: bool = False

    @property
    def hash_name(self) -> str:
        """The algorithm in capitals, such as `SHA-256-SESS`; `MD5` by default."""
        return self.algorithm.upper() or "MD5"


def has_digest(headers: Sequence[str]) -> bool:
    """Whether `WWW-Authenticate` headers hold a Digest challenge, supported or not."""
    return any(start[1].lower() == "digest" for header in headers for start in _SCHEME.finditer(header))


def select_challenge(headers: Sequence[str], *, digest_only: bool = False) -> Challenge | None:
    """The strongest supported challenge of `WWW-Authenticate` headers: SHA-256, MD5, Basic, or None."""
    found = [challenge for header in headers for challenge in _parse_challenges(header)]
    digests = sorted((c for c in found if c.scheme == "digest"), key=lambda c: "SHA" not in c.hash_name)
    basics = [] if digest_only else [c for c in found if c.scheme == "basic"]
    return next(iter([*digests, *basics]), None)


def _parse_challenges(header: str) -> list[Challenge]:
    starts = list(_SCHEME.finditer(header))
    ends = [start.start() for start in starts[1:]] + [len(header)]
    found = [
        _parse_challenge(start[1].lower(), header[start.end() : end]) for start, end in zip(starts, ends, strict=False)
    ]
    return [one for one in found if one is not None]


def _parse_challenge(scheme: str, text: str) -> Challenge | None:
    parameters = {m[1].lower(): m[3] if m[2] is None else _unquote(m[2]) for m in _PARAMETER.finditer(text)}
    if scheme == "basic":
        return Challenge("basic", parameters.get("realm", ""))
    qops = {word.strip().lower() for word in parameters.get("qop", "").split(",")} - {""}
    challenge = Challenge(
        "digest",
        parameters.get("realm", ""),
        parameters.get("nonce", ""),
        parameters.get("opaque"),
        parameters.get("algorithm", ""),
        has_qop="auth" in qops,
        is_stale=parameters.get("stale", "").lower() == "true",
    )
    is_supported = challenge.hash_name.removesuffix("-SESS") in _HASHES and (challenge.has_qop or not qops)
    return challenge if is_supported else None


def _unquote(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def format_basic(credential: Credential) -> str:
    """The `Authorization` header's value (RFC 7617 section 2)."""
    return "Basic " + base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()


def format_digest(
    challenge: Challenge, credential: Credential, *, method: str, uri: str, nonce_count: int, cnonce: str
) -> str:
    """The `Authorization` header's value (RFC 7616 section 3.4).

    `nonce_count` is the number of requests authorized with this nonce, including this one. `cnonce` is a
    random client nonce, used if the challenge has qop or a `-sess` algorithm.
    """
    needs_cnonce = challenge.has_qop or challenge.hash_name.endswith("-SESS")
    fields = [
        ("username", _quote(credential.username)),
        ("realm", _quote(challenge.realm)),
        ("nonce", _quote(challenge.nonce)),
        ("uri", _quote(uri)),
        ("response", f'"{_compute_response(challenge, credential, (method, uri), nonce_count, cnonce)}"'),
    ]
    fields += [("algorithm", challenge.algorithm)] if challenge.algorithm else []
    fields += [("opaque", _quote(challenge.opaque))] if challenge.opaque is not None else []
    fields += [("qop", "auth"), ("nc", f"{nonce_count:08x}")] if challenge.has_qop else []
    fields += [("cnonce", _quote(cnonce))] if needs_cnonce else []
    return "Digest " + ", ".join(f"{name}={value}" for name, value in fields)


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _compute_response(
    challenge: Challenge, credential: Credential, method_and_uri: tuple[str, str], nonce_count: int, cnonce: str
) -> str:
    """The `response` parameter: RFC 7616 section 3.4.1, or RFC 2069 without qop."""
    name = challenge.hash_name
    ha1 = _hash(name, credential.username, challenge.realm, credential.password)
    if name.endswith("-SESS"):
        ha1 = _hash(name, ha1, challenge.nonce, cnonce)
    ha2 = _hash(name, *method_and_uri)
    if not challenge.has_qop:
        return _hash(name, ha1, challenge.nonce, ha2)
    return _hash(name, ha1, challenge.nonce, f"{nonce_count:08x}", cnonce, "auth", ha2)


def _hash(name: str, *parts: str) -> str:
    kind = _HASHES[name.removesuffix("-SESS")]
    return hashlib.new(kind, ":".join(parts).encode(), usedforsecurity=False).hexdigest()
