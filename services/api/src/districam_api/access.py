"""Who asks. One dependency stands before every route; what is open is named here, all else needs a key."""

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Annotated, Any, cast

import structlog
from fastapi import Depends, Request
from starlette.responses import Response

from districam_api.core.attempts import Attempts, Logins
from districam_api.core.ended import Ended
from districam_api.core.keys import EVERYBODY, NO_KEY, NOBODY, Caller, Key, claimed
from districam_api.core.tokens import SESSION_US, Checked
from districam_api.forwarded import FROM_PROXIES
from districam_api.keyring import KeyRing
from districam_api.problems import Refusal, shown_path
from districam_api.signing import Signing
from districam_common.errors import Retriable
from districam_common.runtime.clock import Clock

log = structlog.get_logger()

COOKIE = "districam_session"
COOKIE_BY_HTTPS = f"__Host-{COOKIE}"
"""Browsers take it from this very host alone (RFC 6265bis section 4.1.3.2): no neighbour of its domain can plant one."""
OPEN = frozenset({"/", "/v1/login"})
SHELL = "/page/"
MEDIA = "/v1/media/"
JSON = "application/json"


class NotHeard(Retriable):
    """What other replicas know is needed, and has not been heard."""


@dataclass(frozen=True, slots=True)
class Access:
    """Tells who asks.

    Attributes:
        keys: None: no keys are asked for, and all stays on loopback.
        is_secure: whether people come by HTTPS.
    """

    keys: KeyRing | None
    signing: Signing
    attempts: Attempts
    clock: Clock
    is_secure: bool
    ended: Ended = field(default_factory=Ended)
    logins: Logins = field(default_factory=Logins)

    @property
    def cookie(self) -> str:
        return COOKIE_BY_HTTPS if self.is_secure else COOKIE

    def caller(self, request: Request) -> Caller:
        """Who asks, by bearer key or cookie.

        Raises:
            Refusal: 401, or 429 after too many failures. NotHeard: it cannot be said whether a login was ended.
        """
        if self.keys is None:
            return _beside(request)
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _by_key(self.enter(text.strip(), request))
        checked = self.signing.session(request.cookies.get(self.cookie, ""), self.clock.now_us())
        key = self.keys.named(checked.key_id) if checked.verdict == "valid" and checked.login else None
        if key is None or self._is_ended(checked.login):
            raise _unknown("a key is needed: Authorization: Bearer dc_…, or a login", "Bearer")
        return _by_login(key, checked)

    def enter(self, text: str, request: Request) -> Key:
        """The key that `text` is.

        Raises:
            Refusal: 401; 429 after too many failures. A right key is let in all the same: who shares an address with
                somebody else's broken script must not be locked out, and 256 random bits need no lock against guessing.
        """
        key = self.keys.opened(text) if self.keys else None
        if key:
            return key
        address = request.client.host if request.client else ""
        _not_so_fast(self.attempts.failed(address, self.clock.monotonic_us()), "too many wrong keys")
        log.warning("key refused", address=address, key_id=claimed(text), path=shown_path(request))
        raise _unknown("this key is unknown or revoked", 'Bearer error="invalid_token"')

    def is_in_force(self, checked: Checked) -> bool:
        """Whether what was signed for that key, and perhaps a login by it, still holds. Raises NotHeard."""
        if self.keys is None:
            return checked.key_id == NO_KEY
        return self.keys.named(checked.key_id) is not None and not self._is_ended(checked.login)

    def _is_ended(self, login: str) -> bool:
        if login and not self.ended.is_known:
            raise NotHeard("which logins were ended has not been read yet")
        return self.ended.has(login)

    def log_in(self, text: str, request: Request) -> tuple[str, Caller]:
        """A login by that key, and who that is. Raises Refusal, as `enter`; 429 after too many logins by one key."""
        key = self.enter(text, request)
        _not_so_fast(self.logins.made(key.id, self.clock.monotonic_us()), "too many logins by this key")
        token, made = self.signing.new_session(key.id, self.clock.now_us())
        return token, _by_login(key, made)

    def hand_out(self, answer: Response, token: str) -> None:
        """Sets the cookie of a login; an empty one takes it back."""
        answer.set_cookie(
            self.cookie, token, max_age=SESSION_US // 1_000_000 if token else 0,
            path="/", httponly=True, samesite="strict", secure=self.is_secure,
        )  # fmt: skip


def _by_key(key: Key) -> Caller:
    return Caller(how="bearer", role=key.role, key_id=key.id, name=key.name)


def _by_login(key: Key, login: Checked) -> Caller:
    return replace(_by_key(key), how="cookie", expires_us=login.expires_us, login=login.login)


def _not_so_fast(wait_us: int, why: str) -> None:
    """Raises Refusal: 429."""
    if wait_us:
        wait_s = -(-wait_us // 1_000_000)
        raise Refusal(429, f"{why}; try again in {wait_s} s", headers={"Retry-After": str(wait_s)})


def _beside(request: Request) -> Caller:
    """Without keys, whoever sits at this machine. A page from elsewhere whose name it resolves to us does not."""
    host = request.url.hostname or ""
    try:
        is_here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if not is_here or any(name in request.headers for name in FROM_PROXIES):
        raise Refusal(
            403,
            "without keys the api answers requests to a loopback address only, and none that a proxy brings",
        )
    return EVERYBODY


def _unknown(detail: str, challenge: str) -> Refusal:
    return Refusal(401, detail, headers={"WWW-Authenticate": challenge})


def access_of(request: Request) -> Access:
    return cast("Access", request.app.state.access)


async def admitted(request: Request) -> Caller:
    """The dependency of every route.

    Raises:
        Refusal: the route needs a key and there is none; or a body that a form could have sent.
    """
    if request.method == "POST" and not _is_ours(request):
        raise Refusal(415, f"a POST needs Content-Type: {JSON}; forms of other sites cannot send that")
    path: str = request.scope["route"].path
    if path in OPEN or path.startswith(SHELL) or (path.startswith(MEDIA) and "token" in request.query_params):
        return NOBODY
    caller = access_of(request).caller(request)
    request.state.key_id = caller.key_id  # for the log, where the connection has more to tell than the route
    return caller


def _is_ours(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == JSON or (not kind and request.headers.get("content-length", "0") == "0")


By = Annotated[Caller, Depends(admitted)]


async def _operator(caller: By) -> Caller:
    if caller.role != "operator":
        raise Refusal(403, f"this needs a key of role operator; {caller.key_id} is a {caller.role}'s")
    return caller


ByOperator = Annotated[Caller, Depends(_operator)]
"""Who asks, where that must be an operator."""


def described(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with the ways to say who asks."""
    document["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "made by `districam-api keys create`"},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": COOKIE,
            "description": f"from POST /v1/login; {COOKIE_BY_HTTPS} by HTTPS",
        },
    }
    document["security"] = [{"key": []}, {"session": []}]
    for path, methods in document["paths"].items():
        if path in OPEN or path.startswith((SHELL, MEDIA)):
            for operation in methods.values():
                operation["security"] = []
    return document
