"""The hosts file is read as glibc reads it, and no content is an error."""

from __future__ import annotations

from socket import AF_INET, AF_INET6

from hypothesis import given
from hypothesis import strategies as st

from nsbroker.names.files.hosts import Hosts, parse
from nsbroker.names.host import Host


def addresses(hosts: Hosts, name: str, family: int = 0) -> list[str]:
    host = hosts.by_name(name, family)
    return [address for _, address in host.addresses] if host else []


def test_name_has_all_its_addresses_in_the_files_order() -> None:
    hosts = parse("10.0.0.1 www\n10.0.0.9 other\n2001:DB8::1 www\n10.0.0.2 x www\n")
    assert addresses(hosts, "www") == ["10.0.0.1", "2001:db8::1", "10.0.0.2"]


def test_families_that_are_not_asked_for_are_left_out() -> None:
    hosts = parse("10.0.0.1 www\n2001:db8::1 www\n")
    assert addresses(hosts, "www", AF_INET) == ["10.0.0.1"]
    assert addresses(hosts, "www", AF_INET6) == ["2001:db8::1"]


def test_case_of_a_name_does_not_matter_and_is_kept() -> None:
    hosts = parse("10.0.0.1\tWww.Example  Alias # a comment with otherword\n")
    assert addresses(hosts, "wwW.exAmple") == ["10.0.0.1"]
    assert hosts.by_name("ALIAS", 0) == Host("Www.Example", ("Alias",), ((AF_INET, "10.0.0.1"),))
    assert addresses(hosts, "otherword") == []


def test_address_has_the_names_of_its_first_line() -> None:
    hosts = parse("10.0.0.1 first f\n10.0.0.1 second\n2001:DB8:0::1 six\n")
    assert hosts.by_address(AF_INET, "10.0.0.1") == Host("first", ("f",), ((AF_INET, "10.0.0.1"),))
    assert hosts.by_address(AF_INET6, "2001:db8::1") == Host("six", (), ((AF_INET6, "2001:db8::1"),))
    assert hosts.by_address(AF_INET, "10.0.0.2") is None


def test_aliases_are_those_of_all_lines() -> None:
    """A line with another canonical name adds it at its end, as in glibc."""
    hosts = parse("10.0.0.1 web web.test\n10.0.0.2 other web x\n10.0.0.3 web\n")
    assert hosts.by_name("web", AF_INET) == Host(
        "web", ("web.test", "web", "x", "other"), ((AF_INET, "10.0.0.1"), (AF_INET, "10.0.0.2"), (AF_INET, "10.0.0.3"))
    )


def test_only_the_first_line_counts_without_multi() -> None:
    hosts = parse("10.0.0.1 www a\n2001:db8::1 www\n10.0.0.2 www b\n", multi=False)
    assert hosts.by_name("www", 0) == Host("www", ("a",), ((AF_INET, "10.0.0.1"),))
    assert addresses(hosts, "www", AF_INET6) == ["2001:db8::1"]


def test_loopback_and_mapped_addresses_are_ipv4_addresses_too() -> None:
    hosts = parse("::1 a\n::ffff:10.0.0.1 a\n2001:db8::1 a\n")
    assert addresses(hosts, "a", AF_INET) == ["127.0.0.1", "10.0.0.1"]
    assert addresses(hosts, "a") == ["::1", "::ffff:10.0.0.1", "2001:db8::1"]
    assert hosts.by_address(AF_INET, "127.0.0.1") == Host("a", (), ((AF_INET, "127.0.0.1"),))


def test_file_has_a_name_of_either_family() -> None:
    hosts = parse("127.0.0.5 LocalHost\n")
    assert "localhost" in hosts
    assert "localhost." not in hosts


def test_name_that_is_twice_in_a_line_counts_once() -> None:
    assert addresses(parse("10.0.0.1 www WWW www\n"), "www") == ["10.0.0.1"]


def test_words_are_separated_as_in_c() -> None:
    """A no-break space belongs to a name, and a NUL ends its line."""
    hosts = parse("10.0.0.1\x0bwww\x0c\ta\u00a0b\x1cc \x00 lost\n10.0.0.2 x\n")
    assert hosts.by_address(AF_INET, "10.0.0.1") == Host("www", ("a\u00a0b\x1cc",), ((AF_INET, "10.0.0.1"),))
    assert addresses(hosts, "x") == ["10.0.0.2"]
    assert addresses(hosts, "lost") == []


def test_lines_that_make_no_sense_are_ignored() -> None:
    hosts = parse(
        "www 10.0.0.1\n10.0.0 www\n10.0.0.1\n#10.0.0.2 www\n\n10.0.0.300 www\n::1%lo www\n\x00 www\n10.0.0.5 www\r\n"
    )
    assert addresses(hosts, "www") == ["10.0.0.5"]


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_any_text_is_read(text: str) -> None:
    parse(text).by_name("www", 0)


@given(st.lists(st.tuples(st.ip_addresses(), st.sampled_from("abcABC")), max_size=20))
def test_what_was_written_is_found(lines: list[tuple[object, str]]) -> None:
    hosts = parse("".join(f"{address} {name}\n" for address, name in lines))
    for name in "abc":
        assert len(addresses(hosts, name)) == sum(line[1].lower() == name for line in lines)
