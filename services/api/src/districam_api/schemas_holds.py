"""The shapes of requests and answers about holds, for OpenAPI."""

from typing import Literal

from pydantic import Field

from districam_api.schemas import Query, ResponseBody, Strict, WindowQuery
from districam_common.contract.media import CAMERA_ID


class Placing(WindowQuery):
    """What is to be held, and why."""

    to: str = Field(description="exclusive, also in the future; what is stored later is held too")
    camera_id: str = Field(pattern=f"^{CAMERA_ID.pattern}$")
    reason: str = Field(min_length=1, max_length=500)
    case_number: str = Field("", max_length=100)


class HoldQuery(Query):
    """One hold."""


class HoldsQuery(Query):
    """A page of holds."""

    camera_id: str | None = Field(None, max_length=64)
    limit: int = Field(100, ge=1, le=1000, description="holds a page")
    cursor: str | None = Field(None, description="`next` of the page before")


class ReleaseHoldQuery(Strict):
    """Why it is over."""

    reason: str = Field(min_length=1, max_length=500)


class Hold(ResponseBody):
    """A hold, and how far it is applied.

    `state`: `enforced`: the store refuses to delete what is held. `advisory`: retention leaves it, others could delete it.
    `partial`: of `versions` stored objects `held` are protected so far. `released`: it is over.
    """

    id: str
    camera_id: str
    from_: str = Field(alias="from")
    from_local: str
    to: str
    to_local: str
    reason: str
    case_number: str
    placed_by: str
    placed_by_name: str
    placed: str
    placed_local: str
    state: Literal["enforced", "advisory", "partial", "released"]
    versions: int
    held: int
    released_by: str | None
    released_by_name: str | None
    released: str | None
    released_local: str | None
    release_reason: str | None


class Holds(ResponseBody):
    """A page of holds; `next` is the cursor of the following one.

    `unread`: ids of holds in force, of any camera, that this version of the api cannot read; they keep their footage.
    """

    holds: list[Hold]
    unread: list[str] = Field(default_factory=list)
    next: str | None
    tz: str
