"""What is wrong with a request, field by field. Raised by cores, answered as RFC 9457 problems."""

from dataclasses import dataclass

from districam_common.errors import Rejected


@dataclass(frozen=True, slots=True)
class FieldError:
    """A parameter's name as the caller wrote it, and what to do about it."""

    field: str
    message: str


class InvalidParameter(Rejected):
    """The request can be read but not answered as it stands (422)."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.errors = (FieldError(field, message),)
