"""`nsbroker-get NS proxy` that can't start says so in one line, and waits for a namespace if it is told to."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable

import pytest

from support import namespaces
from support.names.dnsmasq import OwnFiles
from support.process_state import state
from support.proxied import Inside, Proxied
from support.waiting import wait_until


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ([], "proxy needs -l ADDRESS:PORT or -l PATH, for example -l 127.0.0.1:1080"),
        (["-l", "127.0.0.1:1", "more"], "proxy takes no 'more'"),
        (["-l", "127.0.0.1:99999"], "'99999' is no port number: use 0 to 65535"),
        (["--mark", "x", "-l", "127.0.0.1:1"], "--mark takes a number such as 16 or 0x10, at most 0xffffffff, not 'x'"),
    ],
)
def test_wrong_usage(place: Inside, args: list[str], line: str) -> None:
    assert place.run(place.name, "proxy", *args) == (125, "", f"nsbroker-get: {line} (see nsbroker-get --help)\n")


def test_address_that_is_taken(place: Inside) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        done = place.run(place.name, "proxy", "-l", "127.0.0.1:0", "-l", endpoint)
    assert done == (1, "", f"nsbroker-get: can't listen on {endpoint}: Address already in use\n")


def test_path_that_can_not_be_made(place: Inside) -> None:
    done = place.run(place.name, "proxy", "-l", "/nowhere/proxy")
    assert done == (1, "", "nsbroker-get: can't listen on /nowhere/proxy: No such file or directory\n")


def without_h11() -> None:
    for name in [name for name in sys.modules if name.startswith(("h11", "nsbroker.proxy"))]:
        del sys.modules[name]
    sys.modules["h11"] = None  # type: ignore[assignment]


def test_library_that_is_missing_is_named(place: Inside) -> None:
    done = place.run.start(place.name, "proxy", "-l", "127.0.0.1:0", before=without_h11).finish()
    line = "proxy needs h11: install it, for example by pip install 'nsbroker[proxy]'"
    assert done == (125, "", f"nsbroker-get: {line}\n")


def test_option_that_no_grant_has(place: Inside) -> None:
    """It is refused at the start, not for each client."""
    done = place.run(place.name, "proxy", "-l", "127.0.0.1:0", "--mark", "1")
    assert (done.status, done.out) == (1, "")
    assert "option mark=0x1" in done.err
    assert done.err.count("\n") == 1


def test_namespace_is_waited_for(place: Inside, make_namespace: Callable[..., str]) -> None:
    name = f"{namespaces.PREFIX}later"
    files = OwnFiles(name)
    try:
        started = place.run.start("--wait", "60", name, "proxy", "-l", "127.0.0.1:0", uid=0)
        wait_until(lambda: state(started.pid) in "SZ")
        assert make_namespace("later") == name
        proxy = Proxied(started, started.read_until("\n").splitlines())
        proxy.running.send(signal.SIGTERM)
        assert proxy.running.finish().status == 0
    finally:
        files.close()
