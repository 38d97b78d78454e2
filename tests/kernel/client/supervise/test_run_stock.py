"""`nsbroker-get NS run --stock N`: most calls of socket(2) take no request, and each socket is in the namespace."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from support import namespaces
from support.brokers.process import BrokerProcess
from support.inside import cookie_here, cookie_inside
from support.tool.running import python, run_tool

MANY = 40
OPEN_MANY = f"""
import socket, sys
def open_many(number):
    cookies = set()
    for _ in range({MANY}):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                cookies.add(int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 71, 8), "little"))
        except OSError as error:
            cookies.add(-error.errno)
    print(*sorted(cookies), "round", number, flush=True)
open_many(0)
for number, _ in enumerate(sys.stdin, 1):
    open_many(number)
"""


def lots(broker: BrokerProcess) -> list[int]:
    return [len(record["sockets"]) for record in broker.audit() if record.get("stock")]


def test_sockets_from_stock_are_in_the_namespace(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    name = make_namespace()
    with run_tool(broker) as run:
        done = run(name, "run", "--stock", "16", "--", python(), "-c", OPEN_MANY)
    assert (done.status, done.out, done.err) == (0, f"{cookie_inside(name)} round 0\n", "")
    assert max(lots(broker)) > 1
    assert sum(record["audit"] == "open" for record in broker.audit()) < MANY


def test_deleted_namespace_is_never_served_from_stock(
    broker: BrokerProcess, make_namespace: Callable[..., str]
) -> None:
    """Nor is the former one, if the name has a new namespace."""
    name = make_namespace()
    reader, writer = os.pipe()
    with run_tool(broker) as run:
        running = run.start(name, "run", "--stock", "16", "--", python(), "-c", OPEN_MANY, stdin=reader)
        assert running.read_until("round 0\n") == f"{cookie_inside(name)} round 0\n"
        namespaces.delete(name)
        os.write(writer, b"\n")
        assert running.read_until("round 1\n").splitlines()[-1] == f"{-errno.ENETDOWN} round 1"
        namespaces.make(name)
        os.write(writer, b"\n")
        assert running.read_until("round 2\n").splitlines()[-1] == f"{cookie_inside(name)} round 2"
        os.close(writer)
        assert running.finish().status == 0
    os.close(reader)


def test_namespace_without_a_stock_is_named_once(broker: BrokerProcess) -> None:
    with run_tool(broker) as run:
        done = run("@host", "run", "--stock", "16", "--", python(), "-c", OPEN_MANY)
    assert (done.status, done.out) == (0, f"{cookie_here()} round 0\n")
    assert done.err == "nsbroker-get: no stock of sockets for '@host': only a name in /run/netns can be proven\n"
    assert lots(broker) == []


def test_stock_of_another_size_is_an_error(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    with run_tool(broker) as run:
        done = run(make_namespace(), "run", "--stock", "254", "--", "true")
    assert done.status == 125
    assert "--stock takes a number of sockets, 0 to 253, not '254'" in done.err
