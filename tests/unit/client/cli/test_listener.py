"""The sockets that `nsbroker-get listen -l` requests."""

from __future__ import annotations

import socket

import pytest

from nsbroker import SocketSpec
from nsbroker.cli.listen import listener_spec
from nsbroker.cli.messages import FailureError

V4, V6, UNIX = int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_UNIX)
STREAM, DGRAM = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM)
REUSE = (int(socket.SOL_SOCKET), int(socket.SO_REUSEADDR), 1)
V6ONLY = (int(socket.IPPROTO_IPV6), int(socket.IPV6_V6ONLY), 1)


@pytest.mark.parametrize(
    ("text", "kind", "family", "expected"),
    [
        ("80", "tcp", None, (V4, STREAM, 0, ("0.0.0.0", 80), 7, (REUSE,))),
        ("[::]:80", "tcp", None, (V6, STREAM, 0, ("::", 80, 0, 0), 7, (REUSE, V6ONLY))),
        ("10.0.0.1:53", "udp", None, (V4, DGRAM, 0, ("10.0.0.1", 53), None, ())),
        ("53", "udp", V6, (V6, DGRAM, 0, ("::", 53, 0, 0), None, (V6ONLY,))),
        ("53/udp", "tcp", None, (V4, DGRAM, 0, ("0.0.0.0", 53), None, ())),
        ("[::1]:443/tcp", "udp", None, (V6, STREAM, 0, ("::1", 443, 0, 0), 7, (REUSE, V6ONLY))),
        ("5000", "sctp", None, (V4, STREAM, 132, ("0.0.0.0", 5000), 7, (REUSE,))),
        ("80/mptcp", "tcp", None, (V4, STREAM, 262, ("0.0.0.0", 80), 7, (REUSE,))),
        ("80/udplite", "tcp", None, (V4, DGRAM, 136, ("0.0.0.0", 80), None, ())),
        ("@name", "tcp", None, (UNIX, STREAM, 0, b"name", None, ())),
        ("@a/b:c", "udp", None, (UNIX, DGRAM, 0, b"a/b:c", None, ())),
        ("@" + "x" * 107, "tcp", None, (UNIX, STREAM, 0, b"x" * 107, None, ())),
        ("@\udcff", "tcp", None, (UNIX, STREAM, 0, b"\xff", None, ())),
    ],
)
def test_endpoint_says_what_socket_is_wanted(text: str, kind: str, family: int | None, expected: object) -> None:
    """Datagram sockets never get SO_REUSEADDR, which would let another user take their packets."""
    assert listener_spec("blue", text, kind, family, 7) == SocketSpec("blue", *expected)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "kind", "family", "says"),
    [
        ("80/", "tcp", None, "'' is no kind"),
        ("80/icmp", "tcp", None, "'icmp' is no kind of socket to listen with: use one of tcp, udp, udplite, "),
        ("80", "raw:ospf", None, "'raw:ospf' is no kind"),
        ("@", "tcp", None, "1 to 107 bytes"),
        ("@" + "x" * 108, "tcp", None, "1 to 107 bytes"),
        ("@" + "ü" * 54, "tcp", None, "1 to 107 bytes"),
        ("@name", "sctp", None, "a Unix socket takes"),
        ("@name", "tcp", V6, "a Unix socket takes"),
        ("/run/x", "tcp", None, "a path belongs to no network namespace"),
        ("./x", "tcp", None, "a path belongs to no network namespace"),
        ("[::]:80/tcp", "tcp", V4, ":: is no address for -4"),
    ],
)
def test_endpoint_that_can_not_be_is_refused_with_a_reason(text: str, kind: str, family: int | None, says: str) -> None:
    with pytest.raises(FailureError, match=says) as caught:
        listener_spec("blue", text, kind, family, 7)
    assert caught.value.status == 125
