"""A certificate verification error is found inside the errors of libraries."""

import ssl

import pytest

from districam_common.runtime.tls import certificate_error


def _refusal() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    return error


def _raised_from() -> Exception:
    error = ConnectionError("could not connect")
    error.__cause__ = _refusal()
    return error


def _raised_while() -> Exception:
    try:
        try:
            raise _refusal()
        except OSError:
            raise ConnectionError("could not connect")  # noqa: B904  # as some libraries do
    except ConnectionError as error:
        return error


@pytest.mark.parametrize(
    "error", [_refusal(), _raised_from(), _raised_while(), OSError(_refusal())], ids=["bare", "from", "while", "in"]
)
def test_a_verification_error_is_found(error: Exception) -> None:
    assert certificate_error(error) == "its certificate is not accepted: certificate has expired"


def test_other_errors_are_not_certificate_errors() -> None:
    circle = ConnectionError("reset")
    circle.__context__ = OSError("no route")
    circle.__context__.__context__ = circle
    assert certificate_error(circle) is None
    assert certificate_error(ssl.SSLError(1, "wrong version number")) is None
