import pytest

from districam_api.core.forwarded import Header, TrustedProxies

pytestmark = pytest.mark.hostile

NETWORKS = ("10.0.3.0/24", "2001:db8:1::/48")
PROXY, OTHER_PROXY = "10.0.3.7", "10.0.3.8"


def client(header: Header, *values: str, peer: str = PROXY) -> str:
    return TrustedProxies(NETWORKS, header).client_address(peer, values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["2001:db8:2::9"], "2001:db8:2::9"),
        (["[2001:db8:2::9]:4711"], "2001:db8:2::9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        ([f"203.0.113.9, {OTHER_PROXY}"], "203.0.113.9"),
        (["203.0.113.9", OTHER_PROXY], "203.0.113.9"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_not_a_trusted_proxy(values: list[str], expected: str):
    assert client("x-forwarded-for", *values) == expected


def test_addresses_that_a_client_forged_are_ignored():
    for forged in ("198.51.100.1", OTHER_PROXY, "127.0.0.1", "unknown", 'x"', ""):
        assert client("x-forwarded-for", f"{forged}, 203.0.113.9") == "203.0.113.9"
        assert client("x-forwarded-for", forged, "203.0.113.9") == "203.0.113.9"
        assert client("forwarded", f"for={forged}", "for=203.0.113.9") == "203.0.113.9"
        assert client("forwarded", f'for="{forged}, for=203.0.113.9') == "203.0.113.9", "a quote that never ends"


def test_headers_from_an_untrusted_peer_are_ignored():
    assert client("x-forwarded-for", "203.0.113.9", peer="10.0.4.1") == "10.0.4.1"
    assert client("forwarded", "for=203.0.113.9", peer="10.0.4.1") == "10.0.4.1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ('For="203.0.113.9:4711";proto=https;by=10.0.3.7', "203.0.113.9"),
        ('proto=https; for="[2001:db8:2::9]:4711"', "2001:db8:2::9"),
        (f'for=203.0.113.9, for={OTHER_PROXY}, for="[2001:db8:1::7]"', "203.0.113.9"),
        ("for=_hidden", PROXY),
        ("proto=https", PROXY),
    ],
)
def test_forwarded_is_parsed_as_in_rfc_7239(value: str, expected: str):
    assert client("forwarded", value) == expected


@pytest.mark.parametrize("values", [[], [""], [","], ["unknown"], ["999.1.1.1"], [OTHER_PROXY]])
def test_without_a_usable_header_the_nearest_known_address_counts(values: list[str]):
    assert client("x-forwarded-for", *values) in (PROXY, OTHER_PROXY)


def test_a_trusted_proxy_is_recognised_in_any_notation_of_its_address():
    proxies = TrustedProxies(NETWORKS, "x-forwarded-for")
    assert all(proxies.is_trusted(one) for one in (PROXY, "::ffff:10.0.3.7", "2001:db8:1::7"))
    assert not any(proxies.is_trusted(one) for one in ("10.0.4.7", "", "testclient", "2001:db8:2::7"))


def test_the_number_of_hops_is_limited():
    assert client("x-forwarded-for", ",".join([OTHER_PROXY] * 4000)) == OTHER_PROXY
