"""Parameters and bodies of requests and responses, for OpenAPI. Long lists bypass these models."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from districam_api.core.geo import parse_circle
from districam_api.core.invalid_parameter import InvalidParameter
from districam_api.core.keys import Role
from districam_api.core.search import CameraFilter
from districam_api.core.times import Window, parse_instant, parse_window, parse_zone
from districam_common.contract.events import Cause
from districam_common.contract.media import EPOCH

_INSTANT_HELP = "RFC 3339 with a zone, such as 2026-11-24T14:47:00+07:00 (+ written %2B), or local together with tz"

State = Literal["recorded", "gap", "pending", "expired", "not_expected"]
StreamState = Literal["disabled", "lost", "recording", "late"]


class Query(BaseModel):
    """Parameters of a route; unknown ones are rejected."""

    model_config = ConfigDict(extra="forbid")

    tz: str | None = Field(None, description="IANA zone of local times in the parameters and in the answer")

    def zone(self, default: ZoneInfo) -> ZoneInfo:
        """The zone of local times in the answer."""
        return default if self.tz is None else parse_zone(self.tz)


class WindowQuery(Query):
    """A window of one camera."""

    from_: str = Field(alias="from", description=f"inclusive; {_INSTANT_HELP}")
    to: str = Field(description=f"exclusive; {_INSTANT_HELP}")

    def window(self, max_us: int) -> Window:
        return parse_window(self.from_, self.to, None if self.tz is None else parse_zone(self.tz), max_us)


class InstantQuery(Query):
    """An instant of one camera."""

    at: str = Field(description=_INSTANT_HELP)

    def instant(self) -> int:
        return parse_instant(self.at, "at", None if self.tz is None else parse_zone(self.tz))


class FootageQuery(WindowQuery):
    """A window of one camera, or of one of its epochs."""

    epoch: str | None = Field(
        None,
        pattern=f"^{EPOCH.pattern}$",
        description="only this epoch (an unbroken part of the stream), also where another one is shown instead",
    )


class SegmentsQuery(FootageQuery):
    """A page of a window's segments."""

    limit: int = Field(100, ge=1, le=1000, description="segments per page")
    cursor: str | None = Field(None, description="`next` of the previous page")


class CamerasQuery(Query):
    """Which cameras to list."""

    q: str = Field(
        "", max_length=200, description="words in id, name, place or groups; case and diacritics are ignored"
    )
    group: str | None = Field(None, max_length=200)
    near: str | None = Field(
        None,
        max_length=100,
        description="latitude,longitude,metres: cameras within that distance, nearest first",
        examples=["10.7731,106.7030,500"],
    )
    limit: int = Field(1000, ge=1, le=1000, description="cameras per page")
    cursor: str | None = Field(None, description="`next` of the previous page")

    def filter(self) -> CameraFilter:
        return CameraFilter(self.q, self.group, None if self.near is None else parse_circle(self.near))


class CoverageQuery(CamerasQuery):
    """An instant or a window of the matching cameras."""

    at: str | None = Field(None, description=f"{_INSTANT_HELP}; or from and to")
    from_: str | None = Field(None, alias="from", description=f"inclusive; {_INSTANT_HELP}")
    to: str | None = Field(None, description=f"exclusive; {_INSTANT_HELP}")
    limit: int = Field(100, ge=1, le=1000, description="cameras per page")

    def when(self, max_us: int) -> int | Window:
        """The instant or the window.

        Raises:
            InvalidParameter: neither or both are given, or one is invalid.
        """
        zone = None if self.tz is None else parse_zone(self.tz)
        if self.at is None:
            if self.from_ is None or self.to is None:
                raise InvalidParameter("at", "is required unless from and to are given")
            return parse_window(self.from_, self.to, zone, max_us)
        if self.from_ is not None or self.to is not None:
            raise InvalidParameter("at", "excludes from and to; give an instant or a window")
        return parse_instant(self.at, "at", zone)


class Login(BaseModel):
    """An API key, as `districam-api keys create` printed it."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(max_length=200)


class MediaQuery(BaseModel):
    """The token that grants access to the object."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=200, description="part of the URL from a playlist or a list of segments")


# ---- responses


class Strict(BaseModel):
    """A model that rejects unknown fields."""

    model_config = ConfigDict(extra="forbid")


class ResponseBody(Strict):
    """The body of a response."""


class Session(ResponseBody):
    """The caller's session. `open` means API keys are disabled. `expires` is set for cookie logins."""

    site: str
    tz: str
    how: Literal["bearer", "cookie", "open"]
    role: Role
    key_id: str
    name: str
    expires: str | None
    expires_local: str | None


class FieldProblem(ResponseBody):
    """An invalid parameter, and how to correct it."""

    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457. Extension members: `progress` of an index rebuild, `states` of a window without footage."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem]


class Location(ResponseBody):
    """WGS 84 degrees; heading clockwise from north; the place as the operator wrote it."""

    latitude: float
    longitude: float
    heading_deg: float | None
    place: str | None


class StreamStatus(ResponseBody):
    """A stream's health. `cause` and `detail`: if it is lost. `since`: when the current event took effect."""

    state: StreamState
    cause: Cause | None
    detail: str
    since: str | None
    since_local: str | None
    last_segment_end: str | None
    last_segment_end_local: str | None


class Camera(StreamStatus):
    """The newest revision of a camera's record, and its stream's health.

    `unread` is present if this version of the api cannot read all of the record: names of fields, which have their
    defaults here; or `*` if it can read nothing of it and shows the previous revision.
    """

    unread: list[str] = Field(default_factory=list)
    camera_id: str
    name: str
    url: str
    credential: str | None
    transport: Literal["tcp", "udp"]
    reader: Literal["auto", "native", "ffmpeg"]
    single_client: bool
    enabled: bool
    audio: bool
    segment_s: int
    keyframe_interval_s: int
    retention_days: int
    groups: list[str]
    location: Location | None
    deleted: bool
    revision: int
    updated: str
    updated_local: str


class Profile(ResponseBody):
    """Measured properties of the stream, and its defects in words."""

    codecs: str
    width: int
    height: int
    fps: float | None
    gop_s: float | None
    audio: str | None
    b_frames: bool
    defects: list[str]
    bits_per_s: int | None
    lost_packets: int | None
    jitter_s: float | None
    reports: bool | None
    clock_offset_s: float | None
    clock_drift_ppm: float | None
    transport: str | None
    auth: str | None
    server: str | None
    at: str
    at_local: str


class CameraInFull(Camera):
    """A camera and its measured profile, null until its stream has been read."""

    profile: Profile | None


class CameraFound(Camera):
    """A camera; `distance_m` if `near` was given."""

    distance_m: float = 0.0


class Cameras(ResponseBody):
    """A page of cameras by id, with `near` nearest first; `next` is the cursor of the next page."""

    cameras: list[CameraFound]
    next: str | None
    tz: str


class Covered(ResponseBody):
    """A camera's state at an instant. `cause` is set for gaps only; `distance_m` if `near` was given."""

    camera_id: str
    state: State
    cause: Cause | None
    detail: str
    distance_m: float = 0.0


class CoverageAt(ResponseBody):
    """A page of cameras at an instant; `next` is the cursor of the next page."""

    at: str
    at_local: str
    tz: str
    cameras: list[Covered]
    next: str | None


class Bitmap(ResponseBody):
    """`recorded`: base64, one bit per slot, most significant bit first: whether a segment intersects the slot."""

    camera_id: str
    recorded: str
    recorded_slots: int
    distance_m: float = 0.0


class CoverageWithin(ResponseBody):
    """A page of cameras over a window, widened to whole slots; `next` is the cursor of the next page."""

    from_: Annotated[str, Field(alias="from")]
    from_local: str
    to: str
    to_local: str
    slot_s: int
    slots: int
    tz: str
    cameras: list[Bitmap]
    next: str | None


class TimelineState(ResponseBody):
    """`cause` is set for gaps only; `detail` if the event has one."""

    state: State
    from_: Annotated[str, Field(alias="from")]
    from_local: str
    to: str
    to_local: str
    cause: Cause | None = None
    detail: str | None = None


class RequestedWindow(ResponseBody):
    """The requested window; half-open."""

    camera_id: str
    from_: Annotated[str, Field(alias="from")]
    from_local: str
    to: str
    to_local: str
    tz: str


class Timeline(RequestedWindow):
    """The states tile the window: half-open, in order; adjacent ones differ."""

    recorded_s: float
    gap_s: float
    pending_s: float
    states: list[TimelineState]


class Segment(ResponseBody):
    """An object of `bytes` bytes; the first `init_bytes` are the epoch's init. `lossy`: packets were lost."""

    key: str
    url: str
    start: str
    start_local: str
    end: str
    end_local: str
    start_us: int
    end_us: int
    epoch: str
    first_seq: int
    last_seq: int
    bytes: int
    init_bytes: int
    starts_with_keyframe: bool
    lossy: bool


class Segments(RequestedWindow):
    """A page of segments by start; `next` is the cursor of the next page."""

    segments: list[Segment]
    next: str | None


class Stream(StreamStatus):
    """A camera's health; `age_s` is the time since its newest stored segment ended."""

    camera_id: str
    name: str
    place: str | None
    groups: list[str]
    age_s: float | None


class Streams(ResponseBody):
    """Every camera that is not deleted, at that instant."""

    at: str
    at_local: str
    tz: str
    streams: list[Stream]
