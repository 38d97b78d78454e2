"""Unmodified programs under `nsbroker-get NS run`: their sockets have the limits of their grant."""

from __future__ import annotations

import errno
from collections.abc import Callable

from support.brokers.limited import grant
from support.brokers.process import BrokerProcess
from support.tool.running import python, run_tool

BIND = """
import socket, sys
for port in map(int, sys.argv[1:]):
    try: print(socket.create_server(("", port)) and port)
    except OSError as error: print(error.errno)
"""


def test_program_binds_the_low_port_that_is_listed_and_no_other(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str]
) -> None:
    """By itself, without any right."""
    with run_tool(start_broker(grant(bind=["*:80", "*:8080"]))) as run:
        done = run(make_namespace(), "run", "--", python(), "-c", BIND, "80", "81", "8080", "8081")
        assert done == (0, f"80\n{errno.EPERM}\n8080\n{errno.EPERM}\n", "")


def test_program_connects_where_it_may_and_nowhere_else(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str]
) -> None:
    """The allowed port is closed."""
    code = "import socket, sys; print(*[socket.socket().connect_ex(('127.0.0.1', int(port))) for port in sys.argv[1:]])"
    with run_tool(start_broker(grant(connect=["127.0.0.1:5000"]))) as run:
        done = run(make_namespace(), "run", "--", python(), "-c", code, "5000", "5001")
        assert done == (0, f"{errno.ECONNREFUSED} {errno.EPERM}\n", "")


def test_tool_says_that_it_may_be_the_limit(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str]
) -> None:
    with run_tool(start_broker(grant(connect=["127.0.0.1:5000"]))) as run:
        done = run(make_namespace(), "connect", "127.0.0.1", "5001")
    assert (done.status, done.out) == (1, "")
    assert "127.0.0.1 port 5001: Operation not permitted: the limit of your grant or a firewall" in done.err
    assert "; nsbroker-get list shows" in done.err
