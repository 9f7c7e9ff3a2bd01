"""Addresses and networks out of text, and whether one holds the other; the standard library is the twin."""

import ipaddress
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidder.core.networks import IN, NO_ADDRESS, OUT, NetworkSet, parse_address, parse_network
from bidder.errors import InputError
from bidder.store.networks import load_networks

ADDRESSES = [
    "0.0.0.0", "203.0.113.5", "255.255.255.255", "x.x.x.0", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.1000",
    "01.2.3.4", "1.2.3.00", "1.2.3.", ".1.2.3", "1.2.3.-4", "+1.2.3.4", " 1.2.3.4", "1.2.3.4 ", "1.2.3.4/32", "", "1",
    "1.2.3.\u0664", "\u00b2.2.3.4", "1_0.2.3.4", "::", "::1", "1::", "2001:db8::", "2001:db8::8:800:200c:417a",
    "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", ":::", ":1:2:3:4:5:6:7", "1:2:3:4:5:6:7:",
    "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "12345::", "g::", "::+1", "::1_0",
    "::-1", "2001:DB8::A", "::203.0.113.5", "64:ff9b::203.0.113.5", "1:2:3:4:5:6:203.0.113.5",
    "1:2:3:4:5:6:7:203.0.113.5", "203.0.113.5::", "1:203.0.113.5::2", "::203.0.113.5:1", "::203.0.113", "::1.2.3.256",
    ":", "1:", ":1", "::ffff:0:0:0", "0:0:0:0:0:ffff::", "0:0:0:0:0:0:203.0.113.5", "unknown",
]  # fmt: skip


def by_the_library(text: str) -> tuple[int, int] | None:
    """What the standard library reads, with mapped addresses as the IPv4 ones they are."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return address.max_prefixlen, int(address)


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_is_read_as_the_library_reads_it(text: str) -> None:
    assert parse_address(text) == by_the_library(text)


@given(st.text(alphabet="0123456789abf:.", max_size=30) | st.ip_addresses().map(str))
def test_any_text_is_read_as_the_library_reads_it(text: str) -> None:
    assert parse_address(text) == by_the_library(text)


@given(st.ip_addresses(v=6))
def test_ipv6_is_read_in_full_too(address: ipaddress.IPv6Address) -> None:
    assert parse_address(address.exploded) == by_the_library(str(address))


def test_a_mapped_address_is_the_ipv4_address() -> None:
    assert parse_address("::ffff:203.0.113.5") == parse_address("203.0.113.5") == (32, 0xCB007105)
    assert parse_address("::FFFF:cb00:7105") == (32, 0xCB007105)


def test_a_zone_is_no_part_of_an_address() -> None:
    assert parse_address("fe80::1%eth0") is None


def test_the_longest_address_is_one() -> None:
    text = "2001:0db8:0000:0000:0000:0000:203.255.113.255"
    assert len(text) == 45
    assert parse_address(text) == by_the_library(text)


@pytest.mark.parametrize(
    "text",
    [
        "203.0.113.0/24",
        "0.0.0.0/0",
        "203.0.113.7/32",
        "203.0.113.7",
        "2001:db8::/32",
        "::/0",
        "2001:db8::1",
        "::/127",
    ],
)
def test_a_network_is_read_as_the_library_reads_it(text: str) -> None:
    network = ipaddress.ip_network(text)
    expected = (network.max_prefixlen, int(network.network_address), int(network.broadcast_address))
    assert parse_network(text) == expected


def test_a_mapped_network_is_the_ipv4_network() -> None:
    assert parse_network("::ffff:203.0.113.0/120") == parse_network("203.0.113.0/24")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("203.0.113.0/33", "must have a prefix length from 0 to 32, was '203.0.113.0/33'"),
        ("203.0.113.0/", "must have a prefix length from 0 to 32"),
        ("203.0.113.0/-1", "prefix length"),
        ("203.0.113.0/+8", "prefix length"),
        ("203.0.113.0/255.255.255.0", "prefix length"),
        ("203.0.113.0/24/24", "prefix length"),
        ("::ffff:203.0.113.0/24", "prefix length"),
        ("2001:db8::/129", "must have a prefix length from 0 to 128"),
        ("203.0.113.5/24", "must have no bits set beyond its prefix, was '203.0.113.5/24'"),
        ("2001:db8::1/32", "no bits set beyond"),
        ("example", "must be a network such as 203.0.113.0/24 or 2001:db8::/32, was 'example'"),
        ("203.0.113/24", "must be a network"),
        ("/24", "must be a network"),
    ],
)
def test_what_is_no_network_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_network(text)


@pytest.mark.parametrize(
    ("ip", "found"),
    [
        ("203.0.112.255", OUT), ("203.0.113.0", IN), ("203.0.113.255", IN), ("203.0.114.0", OUT), ("0.0.0.0", OUT),
        ("255.255.255.255", OUT), ("198.51.100.7", IN), ("198.51.100.8", OUT), ("2001:db8::", IN),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", IN), ("2001:db9::", OUT), ("2001:db7:ffff::", OUT), ("::", OUT),
        ("::ffff:203.0.113.9", IN), ("::ffff:203.0.114.9", OUT), ("::203.0.113.9", OUT), ("unknown", NO_ADDRESS),
        ("", NO_ADDRESS), ("2" * 46, NO_ADDRESS),
    ],
)  # fmt: skip
def test_addresses_are_found(ip: str, found: int) -> None:
    networks = NetworkSet.from_lines(["203.0.113.0/24", "198.51.100.7", "2001:db8::/32"], "list")
    assert networks.find(ip) == found
    assert networks.contains(ip) == (found == IN)


def test_asking_again_gives_the_same_answer() -> None:
    networks = NetworkSet.from_lines(["203.0.113.0/24"], "list")
    assert [networks.find("203.0.113.1") for _ in range(3)] == [IN] * 3


def test_sets_remember_apart() -> None:
    here, there = NetworkSet.from_lines(["203.0.113.0/24"], "list"), NetworkSet()
    assert [here.contains("203.0.113.1"), there.contains("203.0.113.1")] == [True, False]


def test_an_empty_set_holds_nothing() -> None:
    assert NetworkSet().find("203.0.113.1") == OUT
    assert len(NetworkSet()) == 0


def test_networks_that_touch_or_overlap_become_one_range() -> None:
    lines = ["203.0.113.128/25", "203.0.113.0/25", "203.0.113.7", "203.0.112.0/24", "203.0.115.0/24", "::/64"]
    assert len(NetworkSet.from_lines(lines, "list")) == 3


def test_a_network_within_an_earlier_one_does_not_cut_it() -> None:
    networks = NetworkSet.from_lines(["10.0.0.0/8", "10.0.0.0/24"], "list")
    assert networks.contains("10.255.255.255")


def test_a_set_holds_what_the_library_says() -> None:
    rng = random.Random(3)
    lines, candidates = [], []
    for _ in range(300):
        kind, bits = rng.choice([(ipaddress.IPv4Address, 32), (ipaddress.IPv6Address, 128)])
        length = rng.randint(bits // 2, bits)
        # Few leading values, so that networks meet.
        value = (
            (rng.randrange(4) << bits - 4 | rng.randrange(1 << bits - 8)) >> bits - length << bits - length
        )
        network = ipaddress.ip_network((value, length))
        lines.append(str(network))
        last = int(network.broadcast_address)
        candidates += [kind(edge) for edge in (value - 1, value, last, last + 1) if 0 <= edge < 1 << bits]
    twin = [ipaddress.ip_network(line) for line in lines]
    networks = NetworkSet.from_lines(lines, "list")
    for address in candidates:
        assert networks.contains(str(address)) == any(address in network for network in twin)


def test_comments_and_empty_lines_are_passed_over() -> None:
    lines = ["# hosting\n", "\n", "  203.0.113.0/24  # all of it\n", "\t\n", "2001:db8::/32\r\n"]
    assert len(NetworkSet.from_lines(lines, "list")) == 2


def test_a_bad_line_is_named_by_its_number() -> None:
    with pytest.raises(InputError, match=r"must be a network.*was '203\.0\.113' \(line 3, hosts\.txt\)"):
        NetworkSet.from_lines(["# one", "203.0.113.0/24", "203.0.113"], "hosts.txt")


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "networks.txt"
    path.write_bytes(b"\xef\xbb\xbf# hosting\r\n203.0.113.0/24\r\n2001:db8::/32")
    networks = load_networks(path)
    assert [networks.contains(ip) for ip in ("203.0.113.4", "2001:db8::4", "203.0.114.4")] == [
        True,
        True,
        False,
    ]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"networks .*absent\.txt cannot be read: No such file"):
        load_networks(tmp_path / "absent.txt")


def test_a_folder_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_networks(tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "networks.bin"
    path.write_bytes(b"203.0.113.0/24\n\xff\xfe")
    with pytest.raises(InputError, match="must be UTF-8 text, was not at byte 15"):
        load_networks(path)


def test_a_bad_line_of_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "networks.txt"
    path.write_text("203.0.113.0/24\n203.0.113.1/24\n")
    with pytest.raises(InputError, match=r"no bits set beyond its prefix.*\(line 2, .*networks\.txt\)"):
        load_networks(path)
