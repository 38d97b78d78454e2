"""The remedies behind the reasons of nsbroker-get."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_RAW, SOCK_STREAM

import pytest

from nsbroker.cli.advice import after_refusal, arguments_of_explain
from nsbroker.cli.arguments import parse
from nsbroker.cli.explain import _OPTIONS, _question
from nsbroker.link.errors import refusal
from nsbroker.place.options import AtBirth
from nsbroker.wire import SocketSpec

LIST = "; nsbroker-get list shows what you may use"
MARKED = AtBirth(0x10, transparent=True)


@pytest.mark.parametrize(
    "spec",
    [
        SocketSpec("blue", AF_INET, SOCK_STREAM),
        SocketSpec("blue", AF_INET6, SOCK_DGRAM),
        SocketSpec("blue", AF_INET, SOCK_STREAM, 0, ("0.0.0.0", 80)),
        SocketSpec("blue", AF_INET6, SOCK_STREAM, 132, ("fe80::1", 443, 0, 0)),
        SocketSpec("blue", AF_INET, SOCK_DGRAM, 1, ("127.0.0.1", 0)),
        SocketSpec("blue", AF_INET6, SOCK_RAW, 89),
        SocketSpec("blue", AF_PACKET, SOCK_RAW),
        SocketSpec("blue", AF_NETLINK, SOCK_RAW, 16),
        SocketSpec("blue", AF_UNIX, SOCK_STREAM),
        SocketSpec("blue", AF_INET, SOCK_STREAM, options=MARKED.of(AF_INET)),
        SocketSpec("blue", AF_INET6, SOCK_DGRAM, 0, ("::1", 53, 0, 0), options=MARKED.of(AF_INET6)),
        SocketSpec("blue", AF_PACKET, SOCK_RAW, options=MARKED.of(AF_PACKET)),
    ],
)
def test_denied_socket_is_the_one_that_explain_asks_about(spec: SocketSpec) -> None:
    """The arguments in the advice mean the same socket to the verb."""
    options, (kind,) = parse(arguments_of_explain(spec), _OPTIONS, anywhere=True)
    assert _question(spec.namespace, kind, options) == (spec, None)  # type: ignore[arg-type]  # a name


def test_advice_is_a_command_for_the_shell() -> None:
    error = refusal("denied", "no", 0)
    assert after_refusal(error, "blue") == LIST
    error.spec = SocketSpec("a b", AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0, ("10.0.0.1", 80))  # type: ignore[attr-defined]  # of Error
    command = "nsbroker-get 'a b' explain tcp --bind 10.0.0.1:80"
    assert after_refusal(error, "a b") == f"; {command} shows what each grant lacks"
    error.spec = SocketSpec("blue", AF_INET, SOCK_RAW, 99)  # type: ignore[attr-defined]  # the same
    assert after_refusal(error, "blue") == LIST
