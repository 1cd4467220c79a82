import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.api.addresses import LOCAL, MOST_HOPS, Addresses, Network

PROXIES = ("10.0.0.0/8", "fd00::/8", "192.0.2.7")
BALANCER, CLIENT = "10.0.0.1", "203.0.113.9"


def behind(*lines: str, header: str = "X-Forwarded-For", read: str | None = None) -> str:
    addresses = Addresses(PROXIES, read or header)
    return addresses.of_request(BALANCER, CIMultiDict([(header, line) for line in lines]))


@pytest.mark.parametrize(
    ("peer", "name", "is_proxy"),
    [
        (("203.0.113.9", 1), "203.0.113.9", False),
        (("10.1.2.3", 1), "10.1.2.3", True),
        (("192.0.2.7", 1), "192.0.2.7", True),
        (("192.0.2.8", 1), "192.0.2.8", False),
        (("2001:db8::1:2:3:4", 1, 0, 0), "2001:db8::/64", False),
        (("2001:db8:0:0:ffff::1", 1, 0, 0), "2001:db8::/64", False),
        (("2001:db8:0:1::1", 1, 0, 0), "2001:db8:0:1::/64", False),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64", False),
        (("fd12::1", 1, 0, 0), "fd12::/64", True),
        (("::ffff:203.0.113.9", 1, 0, 0), "203.0.113.9", False),
        (("::ffff:10.0.0.9", 1, 0, 0), "10.0.0.9", True),
        ("", LOCAL, False),
        (None, LOCAL, False),
    ],
)
def test_a_connection_counts_for_its_other_end(peer: object, name: str, *, is_proxy: bool) -> None:
    assert Addresses(PROXIES, "X-Forwarded-For").of_peer(peer) == (name, is_proxy)


def test_the_unix_socket_may_be_a_proxys() -> None:
    addresses = Addresses(("unix",), "X-Forwarded-For")

    assert addresses.of_peer("") == (LOCAL, True)
    assert addresses.of_request(LOCAL, {"x-forwarded-for": CLIENT}) == CLIENT


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ((CLIENT,), CLIENT),
        ((f"{CLIENT}, 10.0.0.2",), CLIENT),
        ((f"{CLIENT},10.0.0.2, 10.3.0.4 ",), CLIENT),
        # What stands before the last address that is not trusted, anybody can have written.
        ((f"1.1.1.1, {CLIENT}",), CLIENT),
        ((f"10.0.0.9, {CLIENT}, 10.0.0.2",), CLIENT),
        # A line of one's own does not hide the one that the proxy has added.
        (("1.1.1.1", CLIENT), CLIENT),
        (("1.1.1.1, 10.0.0.2", f"{CLIENT}", "10.0.0.2"), CLIENT),
        (("2001:db8::1",), "2001:db8::/64"),
        (("[2001:db8::1]:443",), "2001:db8::/64"),
        (("[2001:db8::1]",), "2001:db8::/64"),
        ((f"{CLIENT}:54321",), CLIENT),
        (("::ffff:203.0.113.9",), CLIENT),
        # Who wrote what is no address is the last that we know.
        (("unknown",), BALANCER),
        (("",), BALANCER),
        ((),  BALANCER),
        (("unknown, 10.0.0.2",), "10.0.0.2"),
        ((f"{CLIENT}, _hidden",), BALANCER),
        ((f"{CLIENT}, 999.1.1.1",), BALANCER),
        ((f"{CLIENT}, 1.2.3",), BALANCER),
        ((f"{CLIENT}, 1.2.3.4.5:80",), BALANCER),
        ((f"{CLIENT}, {'1' * 100_000}",), BALANCER),
        (("10.0.0.2, 10.0.0.3",), "10.0.0.2"),
    ],
)  # fmt: skip
def test_a_request_counts_for_the_last_hop_that_is_not_trusted(
    lines: tuple[str, ...], found: str
) -> None:
    assert behind(*lines) == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"for={CLIENT}", CLIENT),
        (f"For={CLIENT};proto=https;by=203.0.113.43", CLIENT),
        (f"proto=https;FOR = {CLIENT}", CLIENT),
        (f'for="{CLIENT}:4711"', CLIENT),
        ('for="[2001:db8::1]:4711"', "2001:db8::/64"),
        (f"for=1.1.1.1, for={CLIENT}", CLIENT),
        (f"for={CLIENT}, for=10.0.0.2", CLIENT),
        (f'for="1.1.1.1, for={CLIENT}', CLIENT),
        ("for=_secret", BALANCER),
        ("for=unknown", BALANCER),
        ("by=10.0.0.2", BALANCER),
        (f"xfor={CLIENT}", BALANCER),
        (CLIENT, BALANCER),
    ],
)
def test_the_standard_header_is_read_where_it_is_chosen(line: str, found: str) -> None:
    assert behind(line, header="Forwarded") == found


def test_the_other_header_is_not_read() -> None:
    assert behind(CLIENT, header="X-Forwarded-For", read="Forwarded") == BALANCER
    assert behind(f"for={CLIENT}", header="Forwarded", read="X-Forwarded-For") == BALANCER


def test_plain_headers_are_read_as_well() -> None:
    addresses = Addresses(PROXIES, "X-Forwarded-For")

    assert addresses.of_request(BALANCER, {"x-forwarded-for": CLIENT}) == CLIENT
    assert addresses.of_request(BALANCER, {}) == BALANCER


def test_no_more_hops_are_looked_at_than_there_may_be() -> None:
    hops = [CLIENT, *["10.0.0.2"] * MOST_HOPS]

    assert behind(",".join(hops[1:])) == "10.0.0.2"
    assert behind(",".join(hops)) == "10.0.0.2"
    assert behind(",".join(hops[:-1])) == CLIENT
    assert behind("10.0.0.2," * 100_000) == BALANCER


GARBAGE = st.text(max_size=40) | st.sampled_from(["unknown", "", ",", "[", "::", "1.1.1.1", '"'])


@given(garbage=st.lists(GARBAGE, max_size=6))
def test_nothing_that_a_client_writes_changes_for_whom_it_counts(garbage: list[str]) -> None:
    lines = [line.encode("utf-8", "replace").decode().replace("\n", " ") for line in garbage]

    assert behind(*lines, CLIENT) == CLIENT
    assert behind(",".join([*lines, CLIENT])) == CLIENT
    assert behind(*lines, f"for={CLIENT}", header="Forwarded") == CLIENT


@given(line=st.text(max_size=60))
def test_whatever_the_header_says_somebody_is_found(line: str) -> None:
    for header in ("X-Forwarded-For", "Forwarded"):
        found = behind(line, header=header)
        assert isinstance(ipaddress.ip_network(found), Network)
