import base64

import pytest

from districam_devkit.simcam.auth import Algorithm, Credentials, Digest, challenges, digest_response, is_authorized

RFC_2617 = Digest(
    "Mufasa",
    "testrealm@host.com",
    "dcd98b7102dd2f0e8b11d0f600bfb0c093",
    "/dir/index.html",
    "auth",
    "00000001",
    "0a4f113b",
)
RFC_7616 = Digest(
    "Mufasa",
    "http-auth@example.org",
    "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "/dir/index.html",
    "auth",
    "00000001",
    "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
)


@pytest.mark.parametrize(
    ("digest", "password", "algorithm", "response"),
    [
        (RFC_2617, "Circle Of Life", "MD5", "6629fae49393a05397450978507c4ef1"),
        (RFC_7616, "Circle of Life", "MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        (RFC_7616, "Circle of Life", "SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_rfc_examples(digest: Digest, password: str, algorithm: Algorithm, response: str):
    assert digest_response(digest, password, "GET", algorithm) == response


def _header(digest: Digest, response: str) -> str:
    authorization = (
        f'Digest username="{digest.username}", realm="{digest.realm}", nonce="{digest.nonce}", uri="{digest.uri}"'
    )
    qop = f', qop={digest.qop}, nc={digest.nc}, cnonce="{digest.cnonce}"' if digest.qop else ""
    return f'{authorization}, response="{response}"{qop}'


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("qop", ["auth", None])
def test_only_the_right_password_nonce_and_method_are_accepted(algorithm: Algorithm, qop: str | None):
    credentials = Credentials("viewer", "xyz", algorithm=algorithm)
    digest = Digest("viewer", "simcam", "n1", "rtsp://127.0.0.1/cam-001", qop, "00000001", "c1")
    header = _header(digest, digest_response(digest, "xyz", "DESCRIBE", algorithm))
    assert is_authorized(credentials, header, method="DESCRIBE", nonce="n1")
    assert not is_authorized(credentials, header, method="DESCRIBE", nonce="n2")
    assert not is_authorized(credentials, header, method="SETUP", nonce="n1")
    wrong = _header(digest, digest_response(digest, "xyZ", "DESCRIBE", algorithm))
    assert not is_authorized(credentials, wrong, method="DESCRIBE", nonce="n1")
    assert not is_authorized(credentials, "", method="DESCRIBE", nonce="n1")


def test_basic_is_accepted_only_where_it_is_offered():
    header = "Basic " + base64.b64encode(b"viewer:xyz").decode()
    both = Credentials("viewer", "xyz")
    assert is_authorized(both, header, method="DESCRIBE", nonce="n1")
    assert not is_authorized(Credentials("viewer", "abc"), header, method="DESCRIBE", nonce="n1")
    digest_only = Credentials("viewer", "xyz", schemes=("digest",))
    assert not is_authorized(digest_only, header, method="DESCRIBE", nonce="n1")
    assert [value.split()[0] for value in challenges(both, "n1")] == ["Digest", "Basic"]
    assert 'algorithm=MD5, qop="auth"' in challenges(both, "n1")[0]


def test_a_password_is_not_shown():
    assert "xyz" not in repr(Credentials("viewer", "xyz"))
