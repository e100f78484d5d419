"""Errors say who must act. Doors translate their library's errors into these, once, with `from`."""


class DistricamError(Exception):
    """Base of all errors that this system raises on purpose."""


class Retriable(DistricamError):
    """Wait and repeat: the other side is away or slow."""


class Rejected(DistricamError):
    """This record or request will never succeed as it is: tell, and go on with the next."""


class Fatal(DistricamError):
    """This process cannot go on; whoever runs it must act (exit code 3)."""
