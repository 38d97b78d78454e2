"""The package as a whole: its public names, the modules that it loads, and the names that a Namespace passes on."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

import nsbroker
from nsbroker import Namespace
from nsbroker.drivers.thread import Client

HEAVY = {
    "typing",
    "dataclasses",
    "argparse",
    "threading",
    "asyncio",
    "inspect",
    "re",
    "contextlib",
    "ssl",
    "trio",
    "dns",
}
"""These would slow down the start of nsbroker-get for one socket."""


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after running `code`."""
    path = ":".join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        env={"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_everything_that_is_promised_is_there() -> None:
    for name in nsbroker.__all__:
        assert getattr(nsbroker, name).__name__ == name
        assert name in dir(nsbroker)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        nsbroker.nothing  # noqa: B018


def test_package_is_lazy() -> None:
    """An import of the package, or of only the wire layer, loads no other part."""
    assert {name for name in loaded_by("import nsbroker") if name.startswith("nsbroker")} == {"nsbroker"}
    wire = {name for name in loaded_by("import nsbroker.wire") if name.startswith("nsbroker")}
    assert {name for name in wire if not name.startswith("nsbroker.wire")} == {"nsbroker"}


def test_client_and_tool_load_nothing_heavy() -> None:
    before = loaded_by("")
    tool = (
        "import nsbroker.cli, nsbroker.cli.command, nsbroker.cli.connect, nsbroker.cli.relay\n"
        "import nsbroker.cli.listen, nsbroker.cli.socket_verb"
    )
    for code in ("import nsbroker; nsbroker.Client", "import nsbroker; nsbroker.Namespace", tool):
        assert (loaded_by(code) - before) & HEAVY == set()


def test_client_and_tool_load_nothing_that_they_do_not_need() -> None:
    """It needs neither the daemon nor the daemon's libraries."""
    loaded = loaded_by(
        "import nsbroker.module.namespace, nsbroker.module.servers, nsbroker.cli.listing, nsbroker.cli.command"
    )
    assert {name.partition(".")[0] for name in loaded} & {"nsbrokerd", "trio", "pyroute2", "structlog"} == set()


def test_numeric_host_is_connected_to_without_the_resolver() -> None:
    loaded = loaded_by(
        "import nsbroker; from nsbroker.drivers.thread import run\n"
        "run(nsbroker.Namespace('', path='/nowhere')._place.stream_addresses('::1', 80))"
    )
    assert "nsbroker.module.lookups" in loaded
    assert {name for name in loaded if name.startswith(("nsbroker.names.", "dns."))} == {"nsbroker.names.numeric"}


def test_adapters_for_event_loops_load_the_resolver_beforehand() -> None:
    """Dnspython takes about 50 ms, for which a loop would stand still at its first look-up."""
    for name in ("asyncio", "trio", "anyio", "aiohttp"):
        assert {"nsbroker.names.dns.messages", "dns.message"} <= loaded_by(f"import nsbroker.adapters.{name}")


@pytest.fixture
def blue() -> Namespace:
    return Namespace("blue", client=Client("/nowhere"))


def test_constants_and_pure_functions_are_the_socket_modules(blue: Namespace) -> None:
    for name in ("AF_INET", "SOCK_STREAM", "SOL_SOCKET", "SO_REUSEADDR", "IPPROTO_TCP", "TCP_NODELAY", "MSG_PEEK"):
        assert getattr(blue, name) == getattr(socket, name)
    for name in ("error", "timeout", "gaierror", "herror", "htons", "inet_pton", "socketpair", "getdefaulttimeout"):
        assert getattr(blue, name) is getattr(socket, name)


@pytest.mark.parametrize("name", ["SocketIO_", "sethostname", "os", "_socket", "nothing", "recv_fds"])
def test_the_rest_of_the_module_is_not_there(blue: Namespace, name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(blue, name)


def test_every_name_of_the_socket_module_was_thought_of(blue: Namespace) -> None:
    """A function that a later Python adds is not passed on unseen."""
    passed = {name for name in dir(socket) if not name.startswith("_") and hasattr(blue, name)}
    functions = {
        name for name in passed if callable(getattr(socket, name)) and not isinstance(getattr(socket, name), type)
    }
    assert functions == {
        "getaddrinfo", "getfqdn", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo",
        "getservbyname", "getservbyport", "getprotobyname",
        "if_nameindex", "if_nametoindex", "if_indextoname",
        "CMSG_LEN", "CMSG_SPACE", "close", "dup", "getdefaulttimeout", "gethostname", "has_dualstack_ipv6", "htonl",
        "htons", "inet_aton", "inet_ntoa", "inet_ntop", "inet_pton", "ntohl", "ntohs", "setdefaulttimeout",
        "socketpair", "create_connection", "create_server", "fromfd",
    }  # fmt: skip


def test_representation_names_the_namespace(blue: Namespace) -> None:
    assert repr(blue) == "<nsbroker.Namespace 'blue'>"
    assert repr(Client("/nowhere")) == "<nsbroker.Client '/nowhere'>"


def test_client_and_path_exclude_each_other() -> None:
    with pytest.raises(TypeError, match="path"):
        Namespace("blue", client=Client("/nowhere"), path="/elsewhere")
