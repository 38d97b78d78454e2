"""One name is asked of all servers as glibc asks, and the answer that counts is the one to the question."""

from __future__ import annotations

import errno
import socket
from itertools import chain, repeat

import dns.message
import pytest

from nsbroker.drivers.thread import run
from nsbroker.link.errors import AccessDeniedError, BrokerUnavailableError, NamespaceNotFoundError
from nsbroker.names.dns.messages import AAAA, A
from nsbroker.names.dns.questions import TCP, UDP
from nsbroker.names.dns.servers import Servers, Verdict
from support.names.fake_dns import Asked, Network, Server, refused, silent

ZONE = {"www.test": "A 10.0.0.1\nAAAA 2001:db8::1", "four.test": "A 10.0.0.4"}
BIG = {"big.test": "\n".join(f"A 10.1.0.{n}" for n in range(60)) + "\nAAAA 2001:db8::1"}


def ask(network: Network, name: str = "www.test", kinds: tuple[int, ...] = (AAAA, A), rotation: int = 0) -> Verdict:
    network.rotation = rotation
    return run(Servers(network, network.files.settings).ask(name, kinds))


def servers_asked(network: Network) -> list[str]:
    """The servers in the order they were asked, one for each conversation."""
    return [asked.server for asked in network.asked if asked.kind == "A"]


def test_both_questions_go_out_at_once_by_one_socket() -> None:
    network = Network({"10.0.0.53": Server(ZONE)})
    verdict = ask(network)
    assert {kind: answer.records for kind, answer in verdict.answers.items()} == {
        A: ("10.0.0.1",),
        AAAA: ("2001:db8::1",),
    }
    assert network.opened == [(socket.AF_INET, UDP)]
    assert network.questions() == ["AAAA www.test", "A www.test"]


def test_questions_have_different_random_ids() -> None:
    ids: list[int] = []
    network = Network({"10.0.0.53": Server(ZONE)})
    network.before = lambda packet: ids.append(dns.message.from_wire(packet).id) or [packet]  # type: ignore[func-returns-value]
    numbers = chain(repeat(7, 3), repeat(8))
    run(Servers(network, network.files.settings, lambda: next(numbers)).ask("www.test", (AAAA, A)))
    assert ids == [7, 8]


def test_ids_of_questions_can_not_be_guessed() -> None:
    """Otherwise a stranger could answer in the server's place."""
    ids: list[int] = []
    network = Network({"10.0.0.53": Server(ZONE)})
    network.before = lambda packet: ids.append(dns.message.from_wire(packet).id) or [packet]  # type: ignore[func-returns-value]
    for _ in range(20):
        ask(network)
    assert len(ids) == 40
    assert ids != sorted(ids)
    assert max(ids) > 256


def test_single_request_asks_one_after_the_other_each_by_its_own_socket() -> None:
    network = Network({"10.0.0.53": Server(ZONE)}, "options single-request\n")
    assert ask(network).found
    assert network.opened == [(socket.AF_INET, UDP)] * 2


def test_silent_servers_are_asked_in_turn_with_glibcs_timeouts() -> None:
    """In each attempt, the first server has 5 seconds, and each later one has timeout << index / count."""
    network = Network({f"10.0.0.{n}": Server(error=silent()) for n in (1, 2, 3)})
    assert ask(network).silence == "silent"
    assert [(asked.server, asked.timeout_s) for asked in network.asked if asked.kind == "A"] == [
        ("10.0.0.1", 5), ("10.0.0.2", 3), ("10.0.0.3", 6), ("10.0.0.1", 5), ("10.0.0.2", 3), ("10.0.0.3", 6)
    ]  # fmt: skip


def test_timeout_is_never_less_than_a_second() -> None:
    network = Network({f"10.0.0.{n}": Server(error=silent()) for n in (1, 2, 3)}, "options timeout:1 attempts:1\n")
    ask(network)
    assert [asked.timeout_s for asked in network.asked if asked.kind == "A"] == [1, 1, 1]


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
def test_server_that_fails_makes_way_for_the_next_one(rcode: str) -> None:
    network = Network({"10.0.0.1": Server(rcode=rcode), "10.0.0.2": Server(ZONE)})
    assert ask(network).found
    assert servers_asked(network) == ["10.0.0.1", "10.0.0.2"]
    assert network.waited_s == 0


def test_refusing_server_makes_way_at_once() -> None:
    network = Network({"10.0.0.1": Server(error=refused()), "10.0.0.2": Server(ZONE)})
    assert ask(network).found
    assert network.waited_s == 0


def test_name_that_does_not_exist_is_not_asked_of_the_next_server() -> None:
    network = Network({"10.0.0.1": Server(ZONE), "10.0.0.2": Server({"nope.test": "A 10.6.6.6"})})
    verdict = ask(network, "nope.test")
    assert (verdict.found, verdict.exists, verdict.silence) == (False, False, None)
    assert servers_asked(network) == ["10.0.0.1"]


def test_rotation_begins_with_another_server() -> None:
    network = Network({f"10.0.0.{n}": Server(error=silent()) for n in (1, 2, 3)}, "options rotate attempts:1\n")
    ask(network, rotation=4)
    assert servers_asked(network) == ["10.0.0.2", "10.0.0.3", "10.0.0.1"]


def test_without_rotate_the_first_server_is_first() -> None:
    network = Network({"10.0.0.1": Server(ZONE), "10.0.0.2": Server()})
    assert ask(network, rotation=1).found


def test_only_what_is_missing_is_asked_again() -> None:
    network = Network(
        {"10.0.0.1": Server({"x.test": "TXT x"}, mute=["A"]), "10.0.0.2": Server({"x.test": "A 10.0.0.1"})}
    )
    assert ask(network, "x.test").answers[A].records == ("10.0.0.1",)
    assert [(asked.server, asked.kind) for asked in network.asked] == [
        ("10.0.0.1", "AAAA"), ("10.0.0.1", "A"), ("10.0.0.2", "A")
    ]  # fmt: skip


def test_addresses_of_one_family_do_not_wait_for_ever_for_the_other() -> None:
    """Where one is there, the other gets one more try."""
    network = Network({"10.0.0.1": Server(ZONE, mute=["AAAA"])}, "options attempts:5\n")
    verdict = ask(network)
    assert verdict.found
    assert verdict.answers.keys() == {A}
    assert network.waited_s == 10


def test_cut_answer_is_asked_for_again_by_tcp() -> None:
    network = Network({"10.0.0.53": Server(BIG)})
    network.chunk = 7
    verdict = ask(network, "big.test")
    assert len(verdict.answers[A].records) == 60
    assert network.opened == [(socket.AF_INET, UDP), (socket.AF_INET, TCP)]
    assert network.asked[-1] == Asked("10.0.0.53", TCP, "big.test", "A", 5)
    assert len(network.asked) == 3


def test_server_whose_tcp_fails_makes_way_for_the_next_one() -> None:
    network = Network({"10.0.0.1": Server(BIG, tcp_error=refused()), "10.0.0.2": Server(BIG)})
    assert len(ask(network, "big.test").answers[A].records) == 60


def test_stream_that_ends_too_soon_is_a_failure() -> None:
    network = Network({"10.0.0.1": Server(error=silent())}, "options use-vc attempts:1\n")
    network.streams_end = True
    servers = Servers(network, network.files.settings)
    assert run(servers.ask("www.test", (A,))).silence == "silent"
    assert list(servers.complaints.values()) == ["Connection reset by peer"]


def test_use_vc_asks_by_tcp_alone() -> None:
    network = Network({"10.0.0.53": Server(ZONE)}, "options use-vc\n")
    assert ask(network).found
    assert network.opened == [(socket.AF_INET, TCP)]


def test_grant_of_tcp_alone_is_enough() -> None:
    """UDP is tried once for the whole look-up, not for each server."""
    network = Network({"10.0.0.1": Server(rcode="SERVFAIL"), "10.0.0.2": Server(ZONE)})
    network.refused = {UDP}
    assert ask(network).found
    assert network.opened == [(socket.AF_INET, UDP), (socket.AF_INET, TCP), (socket.AF_INET, TCP)]


def test_grant_of_udp_alone_is_enough() -> None:
    network = Network({"10.0.0.53": Server(ZONE)}, "options use-vc\n")
    network.refused = {TCP}
    assert ask(network).found
    assert network.opened == [(socket.AF_INET, TCP), (socket.AF_INET, UDP)]


def test_cut_answer_without_tcp_says_what_is_missing() -> None:
    network = Network({"10.0.0.53": Server(BIG)}, "options attempts:1\n")
    network.refused = {TCP}
    servers = Servers(network, network.files.settings)
    verdict = run(servers.ask("big.test", (A,)))
    assert (verdict.found, verdict.silence) == (False, "silent")
    assert list(servers.complaints.values()) == ["the answer needs TCP, which the policy refuses"]


def test_cut_answer_without_tcp_has_the_addresses_that_fit() -> None:
    network = Network({"10.0.0.53": Server(ZONE)})
    network.refused = {TCP}
    network.before = lambda packet: [packet[:2] + bytes([packet[2] | 2]) + packet[3:]]
    assert ask(network).answers[A].records == ("10.0.0.1",)


def test_no_grant_at_all_is_an_error_with_the_policys_reason() -> None:
    network = Network({"10.0.0.53": Server(ZONE)})
    network.refused = {UDP, TCP}
    with pytest.raises(socket.gaierror, match=r"Non-recoverable .*: no grant for this socket") as raised:
        ask(network)
    assert raised.value.errno == socket.EAI_FAIL
    assert isinstance(raised.value.__cause__, AccessDeniedError)


def test_limit_of_a_grant_is_a_failure_of_that_server() -> None:
    """The seal says EPERM for an address outside the grant's limit."""
    forbidden = PermissionError(errno.EPERM, "Operation not permitted")
    network = Network({"10.0.0.1": Server(error=forbidden), "10.0.0.2": Server(ZONE)})
    assert ask(network).found
    assert [kind for _, kind in network.opened] == [UDP, TCP, UDP]


@pytest.mark.parametrize(
    "error",
    [
        NamespaceNotFoundError(errno.ENOENT, "x"),
        BrokerUnavailableError(errno.ECONNREFUSED, "x"),
        OSError(errno.EMFILE, "x"),
    ],
)
def test_trouble_of_our_own_ends_the_look_up(error: OSError) -> None:
    network = Network({"10.0.0.1": Server(error=error), "10.0.0.2": Server(ZONE)})
    with pytest.raises(type(error)) as raised:
        ask(network)
    assert raised.value is error


def test_packets_that_answer_nothing_are_passed_over() -> None:
    """An attacker that does not see the question must guess its id. A wrong guess is ignored."""
    network = Network({"10.0.0.53": Server(ZONE)})

    def with_forgeries(packet: bytes) -> list[bytes]:
        forged = packet.replace(b"\x0a\x00\x00\x01", b"\x0a\x06\x06\x06")
        wrong_id = bytes([forged[0], forged[1] ^ 1]) + forged[2:]
        return [wrong_id, forged.replace(b"www", b"ww2"), b"", b"\0" * 30, packet]

    network.before = with_forgeries
    assert ask(network).answers[A].records == ("10.0.0.1",)
    assert network.waited_s == 0


def test_answer_that_cannot_be_read_is_a_failure_of_that_server() -> None:
    network = Network({"10.0.0.1": Server(ZONE), "10.0.0.2": Server(ZONE)})
    answers: list[bytes] = []
    network.before = lambda packet: answers.append(packet) or [packet[:-2] if len(answers) < 3 else packet]  # type: ignore[func-returns-value]
    assert ask(network).found
    assert servers_asked(network) == ["10.0.0.1", "10.0.0.2"]


def test_server_that_does_not_know_edns_is_asked_without() -> None:
    class Old(Server):
        def answer(self, packet: bytes, transport: int) -> bytes | None:
            self.rcode = "FORMERR" if dns.message.from_wire(packet).edns >= 0 else ""
            return super().answer(packet, transport)

    network = Network({"10.0.0.53": Old(ZONE)}, "options edns0\n")
    assert ask(network).found
    assert len(network.opened) == 2


def test_scope_of_a_server_is_an_interface_of_the_namespace() -> None:
    network = Network(text="nameserver fe80::1%eth0\n")
    network.servers["fe80::1"] = Server(ZONE)
    assert ask(network).found
    assert network.addresses == [("fe80::1", 53, 0, 7)]


def test_numeric_scope_of_a_server_is_used_as_it_is() -> None:
    network = Network(text="nameserver fe80::1%3\n")
    network.servers["fe80::1"] = Server(ZONE)
    network.interfaces = {"3": 9}
    assert ask(network).found
    assert network.addresses == [("fe80::1", 53, 0, 3)]


@pytest.mark.parametrize("scope", ["9" * 5000, "4294967296", "\u0663", "eth9", ""])
def test_scope_that_is_neither_does_not_count(scope: str) -> None:
    """No scope ends the look-up in another exception than a name error: sockets take only 32 bits."""
    network = Network(text=f"nameserver fe80::1%{scope}\n")
    network.servers["fe80::1"] = Server(ZONE)
    assert ask(network).found
    assert network.addresses == [("fe80::1", 53, 0, 0)]
