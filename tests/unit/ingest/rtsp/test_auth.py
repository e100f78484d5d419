import pytest

from districam_common.runtime.credentials import Credential
from districam_ingest.rtsp.auth import Challenge, format_basic, format_digest, select_challenge

NONCE_2617 = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
NONCE_7616 = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE_7616 = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def proof(challenge: Challenge, password: str, cnonce: str) -> str:
    value = format_digest(
        challenge, Credential("Mufasa", password), method="GET", uri="/dir/index.html", nonce_count=1, cnonce=cnonce
    )
    return value.partition('response="')[2].partition('"')[0]


@pytest.mark.parametrize(
    ("challenge", "password", "cnonce", "response"),
    [
        (  # RFC 2617 section 3.5
            Challenge("digest", "testrealm@host.com", NONCE_2617, has_qop=True),
            "Circle Of Life",
            "0a4f113b",
            "6629fae49393a05397450978507c4ef1",
        ),
        (  # RFC 2069 section 2.4, as its erratum 749 has it
            Challenge("digest", "testrealm@host.com", NONCE_2617),
            "CircleOfLife",
            "",
            "1949323746fe6a43ef61f9606e7febea",
        ),
        (  # RFC 7616 section 3.9.1
            Challenge("digest", "http-auth@example.org", NONCE_7616, algorithm="MD5", has_qop=True),
            "Circle of Life",
            CNONCE_7616,
            "8ca523f5e9506fed4657c9700eebdbec",
        ),
        (
            Challenge("digest", "http-auth@example.org", NONCE_7616, algorithm="SHA-256", has_qop=True),
            "Circle of Life",
            CNONCE_7616,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ],
)
def test_digest_responses_match_the_examples_of_the_rfcs(
    challenge: Challenge, password: str, cnonce: str, response: str
):
    assert proof(challenge, password, cnonce) == response


def test_sess_algorithms_hash_nonce_and_cnonce_into_ha1():
    challenge = Challenge("digest", "r", "n", algorithm="MD5-sess", has_qop=True)
    value = format_digest(challenge, Credential("u", "p"), method="PLAY", uri="rtsp://x", nonce_count=2, cnonce="c")
    assert proof(challenge, "p", "c") != proof(Challenge("digest", "r", "n", has_qop=True), "p", "c")
    assert "algorithm=MD5-sess" in value
    assert "nc=00000002" in value
    assert 'cnonce="c"' in value


def test_basic_is_base64_of_user_name_and_password():
    assert (
        format_basic(Credential("Aladdin", "open sesame")) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    )  # RFC 7617 section 2


def test_digest_parameters_are_quoted_and_sent_only_if_the_challenge_has_them():
    plain = format_digest(
        Challenge("digest", 'a"b', "n", opaque="o"),
        Credential('u"', "p"),
        method="PLAY",
        uri="rtsp://x/y",
        nonce_count=1,
        cnonce="c",
    )
    assert 'username="u\\""' in plain
    assert 'realm="a\\"b"' in plain
    assert 'opaque="o"' in plain
    assert 'uri="rtsp://x/y"' in plain
    for absent in ("qop", "nc=", "cnonce", "algorithm"):
        assert absent not in plain


@pytest.mark.parametrize(
    ("headers", "scheme", "algorithm"),
    [
        (['Basic realm="x"', 'Digest realm="x", nonce="n"'], "digest", "MD5"),
        (['Basic realm="x", Digest realm="x", nonce="n", algorithm=SHA-256'], "digest", "SHA-256"),
        (['Digest nonce="n"', 'Digest nonce="m", algorithm="SHA-256"'], "digest", "SHA-256"),
        (['digest nonce="n", algorithm=md5, qop="auth,auth-int"'], "digest", "MD5"),
        (['Digest nonce="n", algorithm=SHA-512', 'Basic realm="x"'], "basic", "MD5"),
        (['Digest nonce="n", qop="auth-int"', "Basic"], "basic", "MD5"),
    ],
)
def test_the_strongest_supported_challenge_is_selected(headers: list[str], scheme: str, algorithm: str):
    found = select_challenge(headers)
    assert found is not None
    assert (found.scheme, found.hash_name) == (scheme, algorithm)


@pytest.mark.parametrize("headers", [[], [""], ["Bearer x"], ['Digest nonce="n", algorithm=SHA-512']])
def test_unsupported_challenges_are_not_selected(headers: list[str]):
    assert select_challenge(headers) is None


def test_basic_is_not_selected_if_only_digest_is_allowed():
    assert select_challenge(['Basic realm="x"'], digest_only=True) is None
    assert select_challenge(['Basic realm="x"', 'Digest nonce="n"'], digest_only=True) is not None


def test_challenge_parameters_are_parsed_with_any_spacing_and_quoting():
    found = select_challenge(['Digest realm="a \\"b\\"",nonce = "n" , opaque="", stale=TRUE, qop=auth'])
    assert found == Challenge("digest", 'a "b"', "n", opaque="", has_qop=True, is_stale=True)
