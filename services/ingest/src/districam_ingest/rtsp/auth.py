"""Basic and Digest authentication: RFC 7617, RFC 2617 (MD5) and RFC 7616 (SHA-256, `-sess`)."""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from districam_common.runtime.credentials import Credential

_SCHEME = re.compile(r"(?:^|,)\s*(Basic|Digest)(?:\s+|$)", re.IGNORECASE)
_PARAMETER = re.compile(r'(?<![\w-])([\w-]{1,64})\s{0,8}=\s{0,8}(?:"((?:[^"\\]|\\.)*)"|([^\s,]*))')
"""A name begins where a word begins and is bounded, so that a long word is looked through once, not from each letter."""
_ESCAPED = re.compile(r"\\(.)")
_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in that the server offers.

    Attributes:
        scheme: `basic` or `digest`.
        algorithm: as the server writes it; empty if it does not say: MD5.
        has_qop: whether `qop=auth` is asked for; without it the response is that of RFC 2069.
        is_stale: the password was right, the nonce too old.
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
        """Hash and variant in capitals, `MD5` by default."""
        return self.algorithm.upper() or "MD5"


def has_digest(headers: Sequence[str]) -> bool:
    """Whether `WWW-Authenticate` headers hold a Digest challenge, be it one that can't be met."""
    return any(start[1].lower() == "digest" for header in headers for start in _SCHEME.finditer(header))


def select_challenge(headers: Sequence[str], *, digest_only: bool = False) -> Challenge | None:
    """The strongest of the challenges in `WWW-Authenticate` headers that can be met; None if there is none."""
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
    parameters = {m[1].lower(): m[3] if m[2] is None else _unquoted(m[2]) for m in _PARAMETER.finditer(text)}
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


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def format_basic(credential: Credential) -> str:
    """The value of `Authorization`."""
    return "Basic " + base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()


def format_digest(
    challenge: Challenge, credential: Credential, *, method: str, uri: str, nonce_count: int, cnonce: str
) -> str:
    """The value of `Authorization`.

    `nonce_count` says how many requests were authorized with this nonce, this one too. `cnonce` is random, of our own; it is
    not used unless the server asks for it.
    """
    needs_cnonce = challenge.has_qop or challenge.hash_name.endswith("-SESS")
    fields = [
        ("username", _quoted(credential.username)),
        ("realm", _quoted(challenge.realm)),
        ("nonce", _quoted(challenge.nonce)),
        ("uri", _quoted(uri)),
        ("response", f'"{_compute_response(challenge, credential, (method, uri), nonce_count, cnonce)}"'),
    ]
    fields += [("algorithm", challenge.algorithm)] if challenge.algorithm else []
    fields += [("opaque", _quoted(challenge.opaque))] if challenge.opaque is not None else []
    fields += [("qop", "auth"), ("nc", f"{nonce_count:08x}")] if challenge.has_qop else []
    fields += [("cnonce", _quoted(cnonce))] if needs_cnonce else []
    return "Digest " + ", ".join(f"{name}={value}" for name, value in fields)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _compute_response(
    challenge: Challenge,
    credential: Credential,
    method_and_uri: tuple[str, str],
    nonce_count: int,
    cnonce: str,
) -> str:
    """RFC 7616 section 3.4.1; without qop RFC 2069."""
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
