"""Invalid parameters, field by field; answered as RFC 9457 problems."""

from dataclasses import dataclass

from districam_common.errors import Rejected


@dataclass(frozen=True, slots=True)
class FieldError:
    """A parameter's name as the caller wrote it, and how to correct it."""

    field: str
    message: str


class InvalidParameter(Rejected):
    """A parameter is invalid (422)."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.errors = (FieldError(field, message),)
