"""What a field of a JSON record may hold. Checked where one is read (wire.parse), and published with these words (docs/api)."""

from typing import Annotated

from pydantic import Field

from districam_common.media import CAMERA_ID, EPOCH

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
Instance = Annotated[
    str, Field(description="The process that says so, new at each start: host name, dash, random digits.")
]
