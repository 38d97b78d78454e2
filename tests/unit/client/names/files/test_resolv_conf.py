"""resolv.conf is read as glibc reads it, and no content is an error."""

from __future__ import annotations

from socket import AF_INET, AF_INET6

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.names.files.resolv_conf import NameServer, Settings, parse

WORDS = st.sampled_from([
    "nameserver", "search", "domain", "options", "sortlist", "#", ";", "10.0.0.1", "::1", "fe80::1%eth0",
    "1.2.3.4.5", "ndots:", "ndots:99999999999999999999", "timeout:-1", "attempts:0", "rotate", "a..b",
    "%", "\t", "\0", "\u00e9", "\u0663",
])  # fmt: skip


def servers(text: str) -> list[str]:
    return [str(server) for server in parse(text).servers]


def test_empty_file_means_the_local_server_and_the_defaults() -> None:
    """Without a nameserver line, glibc asks 127.0.0.1."""
    assert parse("") == Settings()
    assert parse("") == Settings((NameServer(AF_INET, "127.0.0.1"),), (), ndots=1, timeout_s=5, attempts=2)


def test_servers_keep_their_order_and_their_scope() -> None:
    settings = parse("nameserver 10.0.0.1\nnameserver\tfe80::1%eth0\nnameserver  2001:DB8::1  \n")
    assert settings.servers == (
        NameServer(AF_INET, "10.0.0.1"),
        NameServer(AF_INET6, "fe80::1", "eth0"),
        NameServer(AF_INET6, "2001:db8::1"),
    )


def test_no_more_than_three_servers_count() -> None:
    assert servers("".join(f"nameserver 10.0.0.{n}\n" for n in range(1, 6))) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


@pytest.mark.parametrize(
    "line",
    ["nameserver", "nameserver ", "nameserver name", "nameserver 10.0.0.256", "nameserver [::1]",
     " nameserver 10.0.0.9", "Nameserver 10.0.0.9", "nameserver10.0.0.9", "#nameserver 10.0.0.9",
     ";nameserver 10.0.0.9", "nameserver \u0661.0.0.1"],
)  # fmt: skip
def test_line_that_names_no_server_is_ignored(line: str) -> None:
    assert servers(f"{line}\nnameserver 10.0.0.1\n") == ["10.0.0.1"]


def test_server_ends_at_a_blank() -> None:
    """Glibc reads no comment here, and no port."""
    assert servers("nameserver 10.0.0.1#53\nnameserver 10.0.0.2;x\nnameserver 10.0.0.3 # the last one\r\n") == [
        "10.0.0.3"
    ]


def test_last_of_search_and_domain_counts() -> None:
    assert parse("search a.test b.test\nsearch c.test\td.test \n").search == ("c.test", "d.test")
    assert parse("search a.test b.test\ndomain e.test f.test\n").search == ("e.test",)
    assert parse("search a.test\nsearch\nsearch  \n").search == ("a.test",)


def test_search_list_has_no_end() -> None:
    """Glibc has had no limit since 2.26."""
    assert len(parse("search " + " ".join(f"{n}.test" for n in range(100))).search) == 100


def test_own_domain_is_searched_when_the_file_names_none() -> None:
    assert parse("", "machine.corp.test").search == ("corp.test",)
    assert parse("", "machine").search == ()
    assert parse("search a.test", "machine.corp.test").search == ("a.test",)


def test_local_domains_replace_those_of_the_file() -> None:
    def search(value: str) -> tuple[str, ...]:
        return parse("search a.test\n", "machine.corp.test", {"LOCALDOMAIN": value}).search

    assert search("b.test\t c.test ") == ("b.test", "c.test")
    assert search("b.test\nc.test") == ("b.test",)
    assert search("") == ("",)
    assert search(" b.test") == ("", "b.test")


def test_options_of_the_environment_come_last() -> None:
    settings = parse("options ndots:2 timeout:3\n", environment={"RES_OPTIONS": "use-vc ndots:4"})
    assert (settings.ndots, settings.timeout_s, settings.use_vc) == (4, 3, True)


def test_sorted_networks_have_the_mask_of_their_class() -> None:
    text = "sortlist 10.0.0.0 172.16.0.0/255.240.0.0 nope\nsortlist 192.168.1.0&255.255.0.0 192.0.2.0 ; 1.0.0.0\n"
    assert [(hex(network), hex(mask)) for network, mask in parse(text).sortlist] == [
        ("0xa000000", "0xff000000"),
        ("0xac100000", "0xfff00000"),
        ("0xc0a80100", "0xffff0000"),
        ("0xc0000200", "0xffffff00"),
    ]


def test_options_are_read_and_add_up() -> None:
    text = (
        "options ndots:3 timeout:2\n"
        "options attempts:4 rotate use-vc no-aaaa edns0 trust-ad single-request debug inet6\n"
    )
    settings = parse(text)
    assert (settings.ndots, settings.timeout_s, settings.attempts) == (3, 2, 4)
    assert settings.rotate
    assert settings.use_vc
    assert settings.no_aaaa
    assert settings.edns0
    assert settings.single_request
    assert settings.trust_ad
    assert not settings.no_tld_query
    assert parse("options single-request-reopen").single_request


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [("ndots:16", "ndots", 15), ("ndots:0", "ndots", 0), ("ndots:", "ndots", 0), ("ndots:x", "ndots", 0),
     ("ndots:-1", "ndots", 15), ("timeout:31", "timeout_s", 30), ("timeout:0", "timeout_s", 1),
     ("attempts:9", "attempts", 5), ("attempts:0", "attempts", 0), ("timeout:3x", "timeout_s", 3)],
)  # fmt: skip
def test_numbers_stay_within_glibcs_limits(option: str, field: str, value: int) -> None:
    assert getattr(parse(f"options {option}"), field) == value


@given(st.lists(st.lists(WORDS | st.text(max_size=8), max_size=6).map(" ".join), max_size=12).map("\n".join))
def test_any_text_gives_settings_that_can_be_used(text: str) -> None:
    settings = parse(text)
    assert 1 <= len(settings.servers) <= 3
    assert 0 <= settings.ndots <= 15
    assert 1 <= settings.timeout_s <= 30
    assert 0 <= settings.attempts <= 5
    assert all(domain and not domain.isspace() for domain in settings.search)


@given(st.binary(max_size=200))
def test_any_bytes_are_read(data: bytes) -> None:
    parse(data.decode("utf-8", "surrogateescape"))
