"""Types of the fields of JSON records: checked on decoding (wire.decode_json) and published in docs/api.

Over-long texts of events are truncated, not rejected: some come from cameras, and a rejected record would leave a gap
without its cause. Longer texts written by older versions are truncated on decoding.
"""

from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, PlainSerializer

from districam_common.contract.media import CAMERA_ID, EPOCH

INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
MAX_INSTANT_US = 2**53 - 1
"""In the year 2255: the largest instant that a Redis score, a double, holds exactly."""

CameraId = Annotated[str, Field(pattern=f"^{CAMERA_ID.pattern}$", description="The camera. Equals the record's key.")]
Epoch = Annotated[
    str,
    Field(
        pattern=f"^{EPOCH.pattern}$",
        description="The epoch, an unbroken run of the stream: a UUIDv7 (RFC 9562) in lower case.",
    ),
]
Seq = Annotated[int, Field(ge=0, le=INT32_MAX)]
Instant = Annotated[int, Field(ge=0, le=MAX_INSTANT_US)]
SignedUs = Annotated[int, Field(ge=-INT64_MAX, le=INT64_MAX)]
Count = Annotated[int, Field(ge=0, le=INT64_MAX)]
Seconds = Annotated[float, Field(ge=0, lt=1e9)]

MAX_BANNER_CHARS, MAX_TOKEN_CHARS, MAX_TEXT_CHARS, MAX_DEFECTS = 200, 64, 500, 32
"""Maximum characters of a camera's `Server` header, of a protocol token, of any other text; maximum number of defects."""


def _truncated_to(max_length: int) -> tuple[BeforeValidator, PlainSerializer]:
    """Truncates on decoding and encoding; values without a length are left to the field's own validation."""

    def truncate(value: Any) -> Any:
        return cast("Any", value[:max_length]) if isinstance(value, str | list | tuple) else value

    return BeforeValidator(truncate), PlainSerializer(truncate)


Banner = Annotated[str, *_truncated_to(MAX_BANNER_CHARS), Field(max_length=MAX_BANNER_CHARS)]
Codecs = Annotated[str, *_truncated_to(MAX_BANNER_CHARS), Field(max_length=MAX_BANNER_CHARS)]
Token = Annotated[str, *_truncated_to(MAX_TOKEN_CHARS), Field(max_length=MAX_TOKEN_CHARS)]
Text = Annotated[str, *_truncated_to(MAX_TEXT_CHARS), Field(max_length=MAX_TEXT_CHARS)]
Defects = Annotated[tuple[Text, ...], Field(max_length=MAX_DEFECTS), *_truncated_to(MAX_DEFECTS)]
Instance = Annotated[
    str,
    *_truncated_to(MAX_TEXT_CHARS),
    Field(
        max_length=MAX_TEXT_CHARS,
        description="The process that sent the record, new at each start: host name, dash, random digits.",
    ),
]
