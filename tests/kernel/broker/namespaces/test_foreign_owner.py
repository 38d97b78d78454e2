"""A namespace whose user namespace root made, as for a container: the owner has all rights there, a client none."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from nsbroker import SocketSpec
from nsbroker.wire import OS_ERROR, ErrorReply, OpenReply, OpenRequest, Option
from support import namespaces
from support.brokers.process import EVERYTHING, BrokerProcess
from support.brokers.raw_client import TCP, connect_as
from support.users import USER

SO_PRIORITY, FIRST_PRIVILEGED_PRIORITY = 12, 7
FIRST_UNPRIVILEGED_PORT = 2000
NO_BIND = EVERYTHING.replace('bind = ["*:*"]', "")

INSIDE = f"""
ip link set lo up
echo {FIRST_UNPRIVILEGED_PORT} > /proc/sys/net/ipv4/ip_unprivileged_port_start
echo ready
read _
"""


@pytest.fixture
def container() -> Iterator[str]:
    """The name of such a namespace, where more ports than usual are low ones."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    name = f"{namespaces.PREFIX}container"
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", INSIDE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        namespaces.ip("netns", "attach", name, str(process.pid))
        process.stdin.close()
    yield name
    namespaces.delete(name)


@pytest.mark.parametrize(
    ("port", "options", "number"),
    [
        (FIRST_UNPRIVILEGED_PORT - 1, (), errno.EACCES),
        (FIRST_UNPRIVILEGED_PORT, (), 0),
        (0, ((socket.SOL_SOCKET, SO_PRIORITY, FIRST_PRIVILEGED_PRIORITY),), errno.EPERM),
        (0, ((socket.SOL_SOCKET, SO_PRIORITY, FIRST_PRIVILEGED_PRIORITY - 1),), 0),
    ],
)
def test_client_gets_what_it_could_do_itself(
    start_broker: Callable[..., BrokerProcess], container: str, port: int, options: tuple[Option, ...], number: int
) -> None:
    """A grant helps with low ports and priorities only if it lists them."""
    spec = SocketSpec(container, *TCP, bind=("127.0.0.1", port), options=options)
    with connect_as(USER, start_broker(NO_BIND)) as client:
        reply = client.ask(OpenRequest(1, (spec,)))
    if number:
        assert isinstance(reply, ErrorReply)
        assert (reply.code, reply.errno) == (OS_ERROR, number)
    else:
        assert isinstance(reply, OpenReply)
