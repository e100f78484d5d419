"""What a field of a JSON record may hold. Checked where one is read (wire.parse), and published with these words (docs/api).

Texts of events are cut, not refused: cameras have a say in some of them, and a record that is refused would leave a gap
without its cause. What older versions wrote at greater length is cut on reading.
"""

from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, PlainSerializer

from districam_common.contract.media import CAMERA_ID, EPOCH

INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
MAX_INSTANT_US = 2**53 - 1
"""In the year 2255: a Redis score, which is a double, is exact so far."""

CameraId = Annotated[str, Field(pattern=f"^{CAMERA_ID.pattern}$", description="The camera. Equals the record's key.")]
Epoch = Annotated[
    str,
    Field(
        pattern=f"^{EPOCH.pattern}$",
        description="The unbroken run of the stream: a UUIDv7 (RFC 9562) in lower case.",
    ),
]
Seq = Annotated[int, Field(ge=0, le=INT32_MAX)]
Instant = Annotated[int, Field(ge=0, le=MAX_INSTANT_US)]
SignedUs = Annotated[int, Field(ge=-INT64_MAX, le=INT64_MAX)]
Count = Annotated[int, Field(ge=0, le=INT64_MAX)]
Seconds = Annotated[float, Field(ge=0, lt=1e9)]

MAX_BANNER_CHARS, MAX_TOKEN_CHARS, MAX_TEXT_CHARS, MAX_DEFECTS = 200, 64, 500, 32
"""Characters of what a camera calls itself, of a name out of a protocol, of any other text; defects of a camera."""


def _truncated_to(max_length: int) -> tuple[BeforeValidator, PlainSerializer]:
    """Nothing longer goes in or out; what has no length is left to the field's own type."""

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
        description="The process that says so, new at each start: host name, dash, random digits.",
    ),
]
