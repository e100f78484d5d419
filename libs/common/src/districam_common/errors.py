"""Errors by who must act. Each adapter module translates its library's errors into these, once, with `from`."""


class DistricamError(Exception):
    """Base of all errors that districam raises itself."""


class Retriable(DistricamError):
    """Temporary: wait and repeat; the other side is unavailable or slow."""


class Rejected(DistricamError):
    """This record or request can never succeed as it is: report it and continue with the next."""


class Fatal(DistricamError):
    """The process cannot continue; the operator must act (exit code 3)."""
