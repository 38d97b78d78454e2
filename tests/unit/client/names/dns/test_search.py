"""Names are searched as glibc searches them, and each way to fail has its code."""

from __future__ import annotations

import socket
from socket import AF_INET, AF_INET6

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.drivers.thread import run
from nsbroker.names.dns.search import is_name, look_up, look_up_address, reverse_name
from nsbroker.names.errors import NoRecoveryError
from nsbroker.names.host import Host
from support.names.fake_dns import Network, Server, refused, silent

ZONE = {
    "www.test": "A 10.0.0.1\nAAAA 2001:db8::1",
    "www.corp": "A 10.0.0.9",
    "text.test": "TXT hello",
    "text.corp": "A 10.0.0.8",
    "a.b": "A 10.0.0.2",
    "a.b.test": "A 10.0.0.3",
    "bare": "A 10.0.0.5",
    "alias.test": "CNAME alias2.test.",
    "alias2.test": "CNAME www.test.",
    "dangling.test": "CNAME www.elsewhere.",
    "1.0.0.10.in-addr.arpa": "PTR www.test.",
}
BOTH = (AF_INET6, AF_INET)


def find(name: str, text: str = "", families: tuple[int, ...] = (AF_INET,), network: Network | None = None) -> Host:
    network = network or Network({"10.0.0.53": Server(ZONE)}, text)
    return run(look_up(network, name, families, network.files))


def names_tried(name: str, text: str) -> list[str]:
    network = Network({"10.0.0.53": Server({})}, text)
    with pytest.raises(socket.gaierror):
        find(name, network=network)
    return [asked.name for asked in network.asked]


def code_of(name: str, network: Network, families: tuple[int, ...] = BOTH) -> int | None:
    with pytest.raises(socket.gaierror) as raised:
        find(name, families=families, network=network)
    return raised.value.errno


def test_addresses_come_with_their_family_and_the_canonical_name() -> None:
    addresses = ((AF_INET6, "2001:db8::1"), (AF_INET, "10.0.0.1"))
    assert find("alias.test", families=BOTH) == Host("www.test", ("alias.test", "alias2.test"), addresses)


def test_families_that_are_not_asked_for_are_no_question() -> None:
    network = Network({"10.0.0.53": Server(ZONE)})
    assert find("www.test", network=network).addresses == ((AF_INET, "10.0.0.1"),)
    assert network.questions() == ["A www.test"]


@pytest.mark.parametrize(
    ("name", "text", "tried"),
    [
        ("x", "search a.test b.test\n", ["x.a.test", "x.b.test", "x"]),
        ("x.y", "search a.test\n", ["x.y", "x.y.a.test"]),
        ("x.y", "search a.test\noptions ndots:2\n", ["x.y.a.test", "x.y"]),
        ("x", "search a.test\noptions ndots:0\n", ["x", "x.a.test"]),
        ("x.", "search a.test\n", ["x"]),
        ("x.y.", "search a.test\noptions ndots:5\n", ["x.y"]),
        ("x", "", ["x"]),
        ("x", "domain a.test\n", ["x.a.test", "x"]),
        ("x", "search a.test. .b.test\n", ["x.a.test", "x.b.test", "x"]),
        ("x", "search . a.test\n", ["x", "x.a.test"]),
        ("x", "search a.test\noptions no-tld-query\n", ["x.a.test"]),
        ("x", "options no-tld-query\n", ["x"]),
    ],
)
def test_search_list_is_tried_in_glibcs_order(name: str, text: str, tried: list[str]) -> None:
    assert names_tried(name, text) == tried


def test_first_domain_that_has_the_name_wins() -> None:
    assert find("www", "search corp test\n").addresses == ((AF_INET, "10.0.0.9"),)
    assert find("www", "search test corp\n").addresses == ((AF_INET, "10.0.0.1"),)
    assert find("a.b", "search test\n").addresses == ((AF_INET, "10.0.0.2"),)
    assert find("a.b", "search test\noptions ndots:2\n").addresses == ((AF_INET, "10.0.0.3"),)


def test_search_goes_on_after_a_name_without_addresses() -> None:
    """Glibc goes on after NODATA, up to the bare name. dnspython would stop."""
    assert find("text", "search test corp\n").addresses == ((AF_INET, "10.0.0.8"),)
    assert find("bare", "search test\n").addresses == ((AF_INET, "10.0.0.5"),)


def test_search_goes_on_after_servfail_but_not_after_silence() -> None:
    servfail = Network({"10.0.0.53": Server(rcode="SERVFAIL")}, "search a.test b.test\noptions attempts:1\n")
    assert code_of("x", servfail, (AF_INET,)) == socket.EAI_AGAIN
    assert [asked.name for asked in servfail.asked] == ["x.a.test", "x.b.test", "x"]
    dead = Network({"10.0.0.53": Server(error=silent())}, "search a.test b.test\noptions attempts:1\n")
    assert code_of("x", dead, (AF_INET,)) == socket.EAI_AGAIN
    assert [asked.name for asked in dead.asked] == ["x.a.test", "x"]


def test_search_ends_where_there_is_no_server() -> None:
    nobody = Network({"10.0.0.53": Server(error=refused())}, "search a.test b.test\noptions attempts:1\n")
    assert code_of("x", nobody, (AF_INET,)) == socket.EAI_AGAIN
    assert len(nobody.asked) == 1


def test_alias_that_leads_nowhere_ends_the_search() -> None:
    network = Network({"10.0.0.53": Server(ZONE)}, "search test corp\n")
    with pytest.raises(NoRecoveryError):
        find("dangling", network=network)
    assert len(network.asked) == 1
    assert code_of("dangling", network) == socket.EAI_NONAME


def test_name_that_does_not_exist_is_eai_noname() -> None:
    assert code_of("nope.test", Network({"10.0.0.53": Server(ZONE)}, "search corp test\n")) == socket.EAI_NONAME


def test_name_without_such_addresses_is_eai_nodata() -> None:
    assert code_of("text.test", Network({"10.0.0.53": Server(ZONE)})) == socket.EAI_NODATA
    assert code_of("text", Network({"10.0.0.53": Server(ZONE)}, "search test\n")) == socket.EAI_NODATA
    assert code_of("a.b", Network({"10.0.0.53": Server(ZONE)}), (AF_INET6,)) == socket.EAI_NODATA


def test_servers_that_are_all_silent_are_eai_again_with_a_note_for_each() -> None:
    network = Network({"10.0.0.1": Server(error=silent()), "10.0.0.2": Server(rcode="REFUSED")})
    with pytest.raises(socket.gaierror) as raised:
        find("www.test", network=network)
    assert raised.value.args == (socket.EAI_AGAIN, "Temporary failure in name resolution")
    assert raised.value.__notes__ == [
        "name server 10.0.0.1 of /etc/resolv.conf: no answer in time",
        "name server 10.0.0.2 of /etc/resolv.conf: REFUSED",
    ]


@pytest.mark.parametrize("address", ["127.0.0.53", "127.0.0.1", "::1"])
def test_stub_that_the_namespace_cannot_reach_is_named(address: str) -> None:
    network = Network({address: Server(error=refused())})
    with pytest.raises(socket.gaierror) as raised:
        find("www.test", network=network)
    assert raised.value.errno == socket.EAI_AGAIN
    assert raised.value.strerror == (
        f"Temporary failure in name resolution: the name server {address} of /etc/resolv.conf is the host's own stub, "
        "which namespace blue can't reach: give the namespace its own in /etc/netns/blue/resolv.conf"
    )


def test_missing_server_of_the_namespaces_own_file_is_not_called_the_hosts() -> None:
    network = Network({"127.0.0.1": Server(error=refused())})
    network.files = network.files._replace(origin="/etc/netns/blue/resolv.conf")
    with pytest.raises(socket.gaierror, match="namespace blue has none at this address"):
        find("www.test", network=network)


def test_stub_that_is_only_slow_gets_no_such_hint() -> None:
    network = Network({"127.0.0.53": Server(error=silent())})
    with pytest.raises(socket.gaierror) as raised:
        find("www.test", network=network)
    assert raised.value.strerror == "Temporary failure in name resolution"


def test_no_aaaa_asks_for_ipv4_alone() -> None:
    network = Network({"10.0.0.53": Server(ZONE)}, "options no-aaaa\n")
    assert find("www.test", families=BOTH, network=network).addresses == ((AF_INET, "10.0.0.1"),)
    assert network.questions() == ["A www.test"]
    assert code_of("www.test", network, (AF_INET6,)) == socket.EAI_NODATA
    assert code_of("nope.test", network, (AF_INET6,)) == socket.EAI_NONAME


@pytest.mark.parametrize("name", ["x" * 64, f"{'x' * 64}.test", "a..b", ".a", "..", "-a", ".".join(["x" * 60] * 5)])
def test_what_can_be_no_name_is_not_asked_for(name: str) -> None:
    network = Network({"10.0.0.53": Server(ZONE)}, "search test\n")
    assert code_of(name, network) == socket.EAI_NONAME
    assert network.asked == []


def test_name_that_is_too_long_with_a_domain_is_tried_without() -> None:
    name = ".".join(["x" * 60] * 4)
    assert names_tried(name, "search long-domain.test\noptions ndots:9\n") == [name]


def test_name_of_an_address_is_looked_up_without_the_search_list() -> None:
    network = Network({"10.0.0.53": Server(ZONE)}, "search test\n")
    assert run(look_up_address(network, bytes([10, 0, 0, 1]), network.files)) == "www.test"
    assert network.questions() == ["PTR 1.0.0.10.in-addr.arpa"]
    with pytest.raises(socket.gaierror) as raised:
        run(look_up_address(network, bytes([10, 0, 0, 2]), network.files))
    assert raised.value.errno == socket.EAI_NONAME


def test_reverse_names_are_those_of_the_rfcs() -> None:
    assert reverse_name(bytes([192, 0, 2, 5])) == "5.2.0.192.in-addr.arpa"
    six = reverse_name(socket.inet_pton(AF_INET6, "2001:db8::567:89ab"))
    assert six == "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


@given(st.text(st.characters(max_codepoint=0x17F), max_size=300))
def test_any_text_ends_in_an_answer_or_a_gaierror(name: str) -> None:
    network = Network({"10.0.0.53": Server({})}, "search test\noptions ndots:2\n")
    assert code_of(name, network, (AF_INET,)) == socket.EAI_NONAME
    assert all(is_name(asked.name) for asked in network.asked) or "\\" in str(network.asked)
