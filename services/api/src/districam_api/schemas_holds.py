"""Request and response bodies of holds, for OpenAPI."""

from typing import Literal

from pydantic import Field

from districam_api.schemas import Query, ResponseBody, Strict, WindowQuery
from districam_common.contract.media import CAMERA_ID


class Placing(WindowQuery):
    """Footage to hold, and why."""

    to: str = Field(description="exclusive; may lie in the future: footage stored later is held too")
    camera_id: str = Field(pattern=f"^{CAMERA_ID.pattern}$")
    reason: str = Field(min_length=1, max_length=500)
    case_number: str = Field("", max_length=100)


class HoldQuery(Query):
    """Parameters of one hold."""


class HoldsQuery(Query):
    """A page of active holds."""

    camera_id: str | None = Field(None, max_length=64)
    limit: int = Field(100, ge=1, le=1000, description="holds per page")
    cursor: str | None = Field(None, description="`next` of the previous page")


class ReleaseHoldQuery(Strict):
    """Why the hold is released."""

    reason: str = Field(min_length=1, max_length=500)


class Hold(ResponseBody):
    """A hold, and how far it is applied.

    `state`: `enforced`: the store refuses to delete held objects. `advisory`: retention keeps them, others could delete
    them. `partial`: `held` of `versions` stored objects are protected so far. `released`: the hold has ended.
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
    """A page of holds; `next` is the cursor of the next page.

    `unread`: ids of active holds, of any camera, that this version of the api cannot read; their footage is protected.
    """

    holds: list[Hold]
    unread: list[str] = Field(default_factory=list)
    next: str | None
    tz: str
