"""The kinds of the policy, and their arguments of socket(2)."""

from __future__ import annotations

import socket

import pytest

from nsbroker.cli.socket_verb import triple_of
from nsbrokerd.policy.kinds import KIND_OF_TRIPLE, KINDS, triples_of


@pytest.mark.parametrize(
    ("triple", "kind"),
    [
        ((socket.AF_INET, socket.SOCK_STREAM, 0), "tcp"),
        ((socket.AF_INET6, socket.SOCK_STREAM, 6), "tcp"),
        ((socket.AF_INET6, socket.SOCK_DGRAM, 17), "udp"),
        ((socket.AF_INET, socket.SOCK_DGRAM, 136), "udplite"),
        ((socket.AF_INET, socket.SOCK_STREAM, 262), "mptcp"),
        ((socket.AF_INET6, socket.SOCK_SEQPACKET, 132), "sctp"),
        ((socket.AF_INET6, socket.SOCK_DGRAM, 58), "icmp"),
        ((socket.AF_INET, socket.SOCK_RAW, 255), "raw:raw"),
        ((socket.AF_PACKET, socket.SOCK_RAW, 0), "packet"),
        ((socket.AF_UNIX, socket.SOCK_SEQPACKET, 0), "unix"),
        ((socket.AF_NETLINK, socket.SOCK_RAW, 0), "netlink:route"),
    ],
)
def test_a_triple_has_the_kind_that_users_call_it(triple: tuple[int, int, int], kind: str) -> None:
    assert KIND_OF_TRIPLE[triple] == kind


def test_every_kind_has_a_triple_and_every_triple_a_kind() -> None:
    assert sum(len(triples_of(kind)) for kind in KINDS) == len(KIND_OF_TRIPLE)


def test_no_stream_is_an_icmp_socket_and_no_dgram_a_tcp_one() -> None:
    assert (socket.AF_INET, socket.SOCK_STREAM, 1) not in KIND_OF_TRIPLE
    assert (socket.AF_INET, socket.SOCK_DGRAM, 6) not in KIND_OF_TRIPLE


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "unix"])
def test_the_shell_tool_asks_for_every_kind_as_the_policy_means_it(kind: str) -> None:
    """Both know the same words, for both families where there are two."""
    for family in {triple[0] for triple in triples_of(kind)}:
        assert KIND_OF_TRIPLE[triple_of(kind, family)] == kind
