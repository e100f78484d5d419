"""What a field of a JSON record may hold. Checked where one is read (wire.parse), and published with these words (docs/api).

Texts of events are cut, not refused: cameras have a say in some of them, and a record that is refused would leave a gap
without its cause. What older versions wrote at greater length is cut on reading.
"""

from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, PlainSerializer

from districam_common.contract.media import CAMERA_ID, EPOCH

INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
INSTANT_MAX_US = 2**53 - 1
"""In the year 2255: a Redis score, which is a double, is exact so far."""

CameraId = Annotated[
    str, Field(pattern=f"^{CAMERA_ID.pattern}$", description="The camera. Equals the record's key.")
]
Epoch = Annotated[
    str,
    Field(
        pattern=f"^{EPOCH.pattern}$",
        description="The unbroken run of the stream: a UUIDv7 (RFC 9562) in lower case.",
    ),
]
Seq = Annotated[int, Field(ge=0, le=INT32_MAX)]
Instant = Annotated[int, Field(ge=0, le=INSTANT_MAX_US)]
SignedUs = Annotated[int, Field(ge=-INT64_MAX, le=INT64_MAX)]
Count = Annotated[int, Field(ge=0, le=INT64_MAX)]
Seconds = Annotated[float, Field(ge=0, lt=1e9)]

BANNER_MOST, WORD_MOST, TEXT_MOST, DEFECTS_MOST = 200, 64, 500, 32
"""Characters of what a camera calls itself, of a name out of a protocol, of any other text; defects of a camera."""


def _cut(most: int) -> tuple[BeforeValidator, PlainSerializer]:
    """Nothing longer goes in or out; what has no length is left to the field's own type."""

    def first(value: Any) -> Any:
        return cast("Any", value[:most]) if isinstance(value, str | list | tuple) else value

    return BeforeValidator(first), PlainSerializer(first)


Banner = Annotated[str, *_cut(BANNER_MOST), Field(max_length=BANNER_MOST)]
Codecs = Annotated[str, *_cut(BANNER_MOST), Field(max_length=BANNER_MOST)]
Word = Annotated[str, *_cut(WORD_MOST), Field(max_length=WORD_MOST)]
Text = Annotated[str, *_cut(TEXT_MOST), Field(max_length=TEXT_MOST)]
Defects = Annotated[tuple[Text, ...], Field(max_length=DEFECTS_MOST), *_cut(DEFECTS_MOST)]
Instance = Annotated[
    str,
    *_cut(TEXT_MOST),
    Field(
        max_length=TEXT_MOST,
        description="The process that says so, new at each start: host name, dash, random digits.",
    ),
]
