"""Authentication: one dependency on every route. The public paths are listed here; all others need a key."""

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Annotated, Any, cast

import structlog
from fastapi import Depends, Request
from starlette.responses import Response

from districam_api.core.keys import ANONYMOUS, LOOPBACK_OPERATOR, NO_KEY, Caller, Key, claimed_id
from districam_api.core.rate_limits import FailureLimiter, LoginLimiter
from districam_api.core.revoked_logins import RevokedLogins
from districam_api.core.tokens import SESSION_TTL_US, CheckedToken
from districam_api.keyring import KeyRing
from districam_api.problems import ProblemError, logged_path
from districam_api.proxy_headers import PROXY_HEADERS
from districam_api.token_signer import TokenSigner
from districam_common.errors import Retriable
from districam_common.runtime.clock import Clock

log = structlog.get_logger()

COOKIE = "districam_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""The `__Host-` prefix binds it to this host (RFC 6265bis section 4.1.3.2): a sibling subdomain cannot set it."""
PUBLIC_PATHS = frozenset({"/", "/v1/login"})
PAGE_PREFIX = "/page/"
MEDIA_PREFIX = "/v1/media/"
JSON = "application/json"


class RevokedLoginsUnknown(Retriable):
    """The revoked logins of other replicas have not been read yet, so a login cannot be verified."""


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Authenticates requests by bearer key or login cookie; without keys, by loopback address.

    Attributes:
        keys: None if API keys are disabled; then only loopback callers are accepted.
        is_secure: whether clients reach the api by HTTPS.
    """

    keys: KeyRing | None
    token_signer: TokenSigner
    failure_limiter: FailureLimiter
    clock: Clock
    is_secure: bool
    revoked_logins: RevokedLogins = field(default_factory=RevokedLogins)
    login_limiter: LoginLimiter = field(default_factory=LoginLimiter)

    @property
    def cookie(self) -> str:
        return SECURE_COOKIE if self.is_secure else COOKIE

    def authenticate(self, request: Request) -> Caller:
        """The caller, by bearer key or login cookie.

        Raises:
            ProblemError: 401; 429 after too many wrong keys; 403 without keys if the caller is not on loopback.
            RevokedLoginsUnknown: whether the login is revoked is not known yet.
        """
        if self.keys is None:
            return _loopback_caller(request)
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _by_key(self.authenticate_key(text.strip(), request))
        checked = self.token_signer.verify_session(request.cookies.get(self.cookie, ""), self.clock.now_us())
        key = self.keys.active_key(checked.key_id) if checked.verdict == "valid" and checked.login else None
        if key is None or self._is_revoked(checked.login):
            raise _unauthorized("a key is required: send Authorization: Bearer dc_…, or log in", "Bearer")
        return _by_login(key, checked)

    def authenticate_key(self, text: str, request: Request) -> Key:
        """The active key with this text.

        Raises:
            ProblemError: 401; 429 after too many failures. A valid key is accepted even then: a broken script at the
                same address must lock nobody out, and 256 random bits need no protection against guessing.
        """
        key = self.keys.verify(text) if self.keys else None
        if key:
            return key
        address = request.client.host if request.client else ""
        _enforce_rate_limit(
            self.failure_limiter.record_failure(address, self.clock.monotonic_us()), "too many wrong keys"
        )
        log.warning("API key refused", address=address, key_id=claimed_id(text), path=logged_path(request))
        raise _unauthorized("this key is unknown or revoked", 'Bearer error="invalid_token"')

    def is_active(self, checked: CheckedToken) -> bool:
        """Whether the token's key is active and its login, if any, not revoked. Raises RevokedLoginsUnknown."""
        if self.keys is None:
            return checked.key_id == NO_KEY
        return self.keys.active_key(checked.key_id) is not None and not self._is_revoked(checked.login)

    def _is_revoked(self, login: str) -> bool:
        if login and not self.revoked_logins.is_synced:
            raise RevokedLoginsUnknown("the revoked logins have not been read from Redis yet")
        return self.revoked_logins.has(login)

    def log_in(self, text: str, request: Request) -> tuple[str, Caller]:
        """Creates a login with that key; returns the cookie's value and the caller.

        Raises:
            ProblemError: as `authenticate_key`; 429 after too many logins with one key.
        """
        key = self.authenticate_key(text, request)
        _enforce_rate_limit(
            self.login_limiter.record_login(key.id, self.clock.monotonic_us()), "too many logins with this key"
        )
        token, session = self.token_signer.create_session(key.id, self.clock.now_us())
        return token, _by_login(key, session)

    def set_cookie(self, answer: Response, token: str) -> None:
        """Sets the login cookie; an empty token deletes it."""
        answer.set_cookie(
            self.cookie, token, max_age=SESSION_TTL_US // 1_000_000 if token else 0,
            path="/", httponly=True, samesite="strict", secure=self.is_secure,
        )  # fmt: skip


def _by_key(key: Key) -> Caller:
    return Caller(auth_method="bearer", role=key.role, key_id=key.id, name=key.name)


def _by_login(key: Key, login: CheckedToken) -> Caller:
    return replace(_by_key(key), auth_method="cookie", expires_us=login.expires_us, login=login.login)


def _enforce_rate_limit(wait_us: int, why: str) -> None:
    """Raises ProblemError 429 if `wait_us` is not 0."""
    if wait_us:
        wait_s = -(-wait_us // 1_000_000)
        raise ProblemError(429, f"{why}; try again in {wait_s} s", headers={"Retry-After": str(wait_s)})


def _loopback_caller(request: Request) -> Caller:
    """Anonymous access from loopback only. Host must name loopback too (blocks DNS rebinding)."""
    host = request.url.hostname or ""
    try:
        is_loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback or any(name in request.headers for name in PROXY_HEADERS):
        raise ProblemError(
            403,
            "API keys are disabled, so the api accepts only direct requests to a loopback address, none through a proxy",
        )
    return LOOPBACK_OPERATOR


def _unauthorized(detail: str, challenge: str) -> ProblemError:
    return ProblemError(401, detail, headers={"WWW-Authenticate": challenge})


def authenticator_of(request: Request) -> Authenticator:
    return cast("Authenticator", request.app.state.authenticator)


async def require_caller(request: Request) -> Caller:
    """Dependency of every route: the caller, anonymous on public paths.

    Raises:
        ProblemError: as `Authenticator.authenticate`; 415 for a POST body that an HTML form could have sent (CSRF).
    """
    if request.method == "POST" and not _is_json_or_empty(request):
        raise ProblemError(415, f"a POST needs Content-Type: {JSON}, which a form on another site cannot send")
    path: str = request.scope["route"].path
    if (
        path in PUBLIC_PATHS
        or path.startswith(PAGE_PREFIX)
        or (path.startswith(MEDIA_PREFIX) and "token" in request.query_params)
    ):
        return ANONYMOUS
    caller = authenticator_of(request).authenticate(request)
    request.state.key_id = caller.key_id  # for the log line of a transfer that times out
    return caller


def _is_json_or_empty(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == JSON or (not kind and request.headers.get("content-length", "0") == "0")


CurrentCaller = Annotated[Caller, Depends(require_caller)]


async def _require_operator(caller: CurrentCaller) -> Caller:
    if caller.role != "operator":
        raise ProblemError(403, f"role operator is required; key {caller.key_id} has role {caller.role}")
    return caller


OperatorCaller = Annotated[Caller, Depends(_require_operator)]
"""The caller of a route that requires role operator."""


def add_security_schemes(document: dict[str, Any]) -> dict[str, Any]:
    """Adds the bearer key and the login cookie to the OpenAPI document; public paths need neither."""
    document["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "created by `districam-api keys create`"},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": COOKIE,
            "description": f"from POST /v1/login; {SECURE_COOKIE} by HTTPS",
        },
    }
    document["security"] = [{"key": []}, {"session": []}]
    for path, methods in document["paths"].items():
        if path in PUBLIC_PATHS or path.startswith((PAGE_PREFIX, MEDIA_PREFIX)):
            for operation in methods.values():
                operation["security"] = []
    return document
