"""Errors as RFC 9457 problems, with a message for each invalid field."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match

from districam_api.core.invalid_parameter import FieldError, InvalidParameter
from districam_api.core.ranges import RangeNotSatisfiable
from districam_api.footage import NotFound, NotReady
from districam_api.head_requests import is_head
from districam_api.hold_service import HoldUnreadable
from districam_api.schemas import Problem
from districam_common.errors import DistricamError, Retriable
from districam_common.s3.blobs import ObjectNotFound

log = structlog.get_logger()

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
MAX_LOGGED_PATH_CHARS = 200
METHODS = ("GET", "POST", "DELETE")
"""The methods of all routes."""

PROBLEM_CONTENT = {"content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such camera", **PROBLEM_CONTENT},
    422: {"description": "A parameter is missing, unknown or invalid", **PROBLEM_CONTENT},
    401: {"description": "No valid key or login", **PROBLEM_CONTENT},
    429: {"description": "Too many wrong keys; Retry-After says when to try again", **PROBLEM_CONTENT},
    503: {
        "description": "The index or the store is unavailable or being built; Retry-After says when to try again",
        **PROBLEM_CONTENT,
    },
}


class ProblemError(Exception):
    """A problem response raised by a route. `extensions` are RFC 9457 extension members (section 3.2)."""

    def __init__(
        self,
        status: int,
        detail: str,
        extensions: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.extensions = extensions or {}
        self.headers = headers


def problem_response(
    request: Request,
    status: int,
    detail: str,
    *,
    errors: Sequence[FieldError] = (),
    extensions: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The response; its title is the status phrase, as `about:blank` requires (RFC 9457 section 4.2.1)."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "errors": [{"field": e.field, "message": e.message} for e in errors],
        **(extensions or {}),
    }
    kept = {"Cache-Control": "no-store", **(headers or {})}
    return JSONResponse(body, status, headers=kept, media_type=CONTENT_TYPE)


def logged_path(request: Request) -> str:
    """The request's path, truncated for the log."""
    return request.url.path[:MAX_LOGGED_PATH_CHARS]


def install(app: FastAPI) -> None:
    """Registers handlers that answer every exception of `app` with a problem."""
    for kind, handler in {
        RequestValidationError: _invalid,
        HTTPException: _http,
        ProblemError: _problem_error,
        RangeNotSatisfiable: _range_not_satisfiable,
        DistricamError: _districam_error,
        Exception: _unexpected_error,
    }.items():
        app.add_exception_handler(kind, handler)


def add_problem_schemas(document: dict[str, Any]) -> dict[str, Any]:
    """Adds the schema that PROBLEM_RESPONSES refer to, in place of FastAPI's own error schemas."""
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem_schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem_schema.pop("$defs"))
    schemas["Problem"] = problem_schema
    return document


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [_field_error(dict(one)) for one in error.errors()]
    return problem_response(request, 422, "; ".join(f"{e.field}: {e.message}" for e in errors), errors=errors)


def _field_error(one: Mapping[str, Any]) -> FieldError:
    field = ".".join(str(part) for part in one["loc"][1:]) or str(one["loc"][0])
    match one["type"]:
        case "missing":
            return FieldError(field, "is required")
        case "extra_forbidden":
            return FieldError(field, "is not a parameter of this route")
        case "json_invalid":
            return FieldError("body", "is not JSON")
        case _:
            return FieldError(field, str(one["msg"]))


async def _http(request: Request, error: Exception) -> JSONResponse:
    """Errors of the router: no such path (404), another method (405), a body that is not text (400)."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:
        return problem_response(request, 422, "body: is not JSON", errors=[FieldError("body", "is not JSON")])
    details = {
        404: f"no such path: {logged_path(request)}",
        405: f"{'HEAD' if is_head() else request.method} is not allowed on this path",
    }
    detail = details.get(error.status_code, error.detail)
    headers = {"Allow": ", ".join(_allowed(request))} if error.status_code == 405 else error.headers
    return problem_response(request, error.status_code, detail, headers=headers)


def _allowed(request: Request) -> list[str]:
    """Methods of all routes of this path (RFC 9110 section 15.5.6); the router has the first match's only."""
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    routes = request.app.router.routes
    found = [m for m, scope in scopes.items() if any(route.matches(scope)[0] is Match.FULL for route in routes)]
    return ["GET", "HEAD", *found[1:]] if "GET" in found else found


async def _problem_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return problem_response(request, error.status, str(error), extensions=error.extensions, headers=error.headers)


async def _range_not_satisfiable(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RangeNotSatisfiable)
    headers = {"Content-Range": f"bytes */{error.size}"}
    return problem_response(request, 416, f"the object has {error.size} bytes", headers=headers)


async def _districam_error(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, InvalidParameter):
        return problem_response(request, 422, str(error), errors=error.errors)
    if isinstance(error, NotFound | ObjectNotFound):
        return problem_response(request, 404, str(error))
    if isinstance(error, HoldUnreadable):
        return problem_response(request, 409, str(error))
    if isinstance(error, Retriable):
        more = {"progress": error.progress} if isinstance(error, NotReady) else {}
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        log.warning("request not answered yet", path=logged_path(request), why=str(error))
        return problem_response(request, 503, str(error), extensions=more, headers=headers)
    return await _unexpected_error(request, error)


async def _unexpected_error(request: Request, error: Exception) -> JSONResponse:
    """Answers 500 without details; the log has them."""
    log.error("request failed", path=logged_path(request), exc_info=error)
    return problem_response(request, 500, "internal error; the api's log has its cause")
