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
def test_who_asks_is_whom_the_last_proxy_of_ours_heard(values: list[str], expected: str):
    assert client("x-forwarded-for", *values) == expected


def test_what_a_client_says_of_itself_is_not_believed():
    for said in ("198.51.100.1", OTHER_PROXY, "127.0.0.1", "unknown", 'x"', ""):
        assert client("x-forwarded-for", f"{said}, 203.0.113.9") == "203.0.113.9"
        assert client("x-forwarded-for", said, "203.0.113.9") == "203.0.113.9"
        assert client("forwarded", f"for={said}", "for=203.0.113.9") == "203.0.113.9"
        assert client("forwarded", f'for="{said}, for=203.0.113.9') == "203.0.113.9", "a quote that never ends"


def test_who_is_no_proxy_of_ours_is_not_believed():
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
def test_forwarded_is_read_as_rfc_7239_writes_it(value: str, expected: str):
    assert client("forwarded", value) == expected


@pytest.mark.parametrize("values", [[], [""], [","], ["unknown"], ["999.1.1.1"], [OTHER_PROXY]])
def test_where_nothing_is_said_the_nearest_that_is_known_counts(values: list[str]):
    assert client("x-forwarded-for", *values) in (PROXY, OTHER_PROXY)


def test_a_proxy_is_known_however_its_address_is_written():
    proxies = TrustedProxies(NETWORKS, "x-forwarded-for")
    assert all(proxies.is_trusted(one) for one in (PROXY, "::ffff:10.0.3.7", "2001:db8:1::7"))
    assert not any(proxies.is_trusted(one) for one in ("10.0.4.7", "", "testclient", "2001:db8:2::7"))


def test_a_row_of_proxies_ends_somewhere():
    assert client("x-forwarded-for", ",".join([OTHER_PROXY] * 4000)) == OTHER_PROXY
