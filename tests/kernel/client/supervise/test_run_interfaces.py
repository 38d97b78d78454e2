"""`nsbroker-get NS run`: interfaces have the names and numbers of the namespace, whichever way a program asks.

The namespace and the test's own have an interface of the same name, with other numbers and addresses.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nsbroker.supervise.calls import SEE_LIST
from support import namespaces
from support.brokers.process import BrokerProcess
from support.checkout import TESTS
from support.inside import call_inside, cookie_inside
from support.names.etc_netns import make_files, remove_files
from support.tool.running import Done, program, python, run_tool
from support.users import GROUP, USER

SOURCES = TESTS / "support" / "programs"
NUMBER, PEERS_NUMBER, OUTSIDE = 4001, 4002, 4003
"""The numbers of the interfaces."""


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    """A namespace with an interface `va`. Its peer `vb` is in a second namespace. Both have link-local addresses."""
    name, peer = make_namespace("ifs"), make_namespace("peer")
    namespaces.ip(
        "-n", name, "link", "add", "va", "index", str(NUMBER), "type", "veth",
        "peer", "name", "vb", "index", str(PEERS_NUMBER), "netns", peer,
    )  # fmt: skip
    for namespace, device, last in ((name, "va", "a"), (peer, "vb", "b")):
        namespaces.ip("-n", namespace, "addr", "add", f"fe80::{last}/64", "dev", device, "nodad")
        namespaces.ip("-n", namespace, "link", "set", device, "up")
    return name


@pytest.fixture
def peer(name: str) -> str:
    return name.replace("ifs", "peer")


@pytest.fixture
def outside(make_namespace: Callable[..., str]) -> str:
    """The caller's own namespace. It has another interface `va`, and one that only exists there."""
    outside = make_namespace("own")
    namespaces.ip("-n", outside, "link", "add", "va", "index", str(OUTSIDE), "type", "veth", "peer", "name", "only")
    return outside


@pytest.fixture
def run(broker: BrokerProcess, name: str, outside: str) -> Iterator[Callable[..., Done]]:
    with run_tool(broker) as tool:
        yield lambda *args: tool.start(name, "run", "--", *args, network=outside).finish()


ASK = """
import socket, sys
for argument in sys.argv[1:]:
    try: print(socket.if_indextoname(int(argument)) if argument.isdigit() else socket.if_nametoindex(argument))
    except OSError as error: print(error.errno)
print(dict(socket.if_nameindex()))
"""


def test_names_and_numbers_are_those_of_the_namespace(run: Callable[..., Done], name: str) -> None:
    """An interface of the caller's own namespace does not exist."""
    done = run(python(), "-c", ASK, "va", str(NUMBER), "only", str(OUTSIDE))
    inside = dict(call_inside(name, socket.if_nameindex))
    assert done == (0, f"{NUMBER}\nva\nNone\n{errno.ENXIO}\n{inside}\n", "")


def test_static_program_keeps_its_descriptors_flags(
    run: Callable[..., Done], open_directory: Path
) -> None:
    """A socket of each kind answers for the namespace. Close-on-exec and O_NONBLOCK are as before."""
    binary = open_directory / "interfaces"
    source = SOURCES / "interfaces.c"
    built = subprocess.run(
        [program("gcc"), "-static", "-O1", "-o", str(binary), str(source)], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        pytest.skip(f"no static program can be built here: {built.stderr.splitlines()[-1]}")
    done = run(str(binary), "va")
    lines = (f"unix {NUMBER} 0 0", f"unix-cloexec {NUMBER} 1 0", f"unix-nonblock {NUMBER} 0 1", f"inet {NUMBER} 0 0")
    assert done == (0, "\n".join((*lines, f"libc {NUMBER}", "")), "")
