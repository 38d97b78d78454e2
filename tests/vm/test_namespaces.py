"""Namespaces that others make while the service runs."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable

import pytest

import nsbroker
from nsbroker import SocketSpec
from support import namespaces
from support.inside import cookie_inside
from support.installed_service import SERVICE, SOCKET, TIMEOUT_S, Installed, command, systemctl, tcp
from support.users import GROUP, USER, start_as_user

TOOL = "/opt/nsbroker/bin/nsbroker-get"


def test_namespaces_made_after_the_start_are_seen(installed: Installed, make_namespace: Callable[..., str]) -> None:
    systemctl("start", SERVICE)
    names = [make_namespace() for _ in range(3)]
    opened = installed.open_as_member(*map(tcp, names))
    assert [netns for _, netns, _ in opened] == [cookie_inside(name) for name in names]


def test_directory_of_names_is_shared_before_the_first_name(
    installed: Installed, make_namespace: Callable[..., str]
) -> None:
    """Otherwise `ip netns add` of iproute2 7.2 mounts the names where the running service does not get them."""
    systemctl("stop", SOCKET, SERVICE)
    command("umount", "/run/netns")
    systemctl("start", SOCKET, SERVICE)
    command("mount", "--make-shared", "/run/netns")  # the first step of `ip netns add`. It fails if this is no mount
    name = make_namespace()
    ((_, netns, _),) = installed.open_as_member(tcp(name))
    assert netns == cookie_inside(name)


def test_namespace_made_before_the_start_is_seen(installed: Installed, make_namespace: Callable[..., str]) -> None:
    name = make_namespace()
    systemctl("restart", SERVICE)
    ((_, netns, _),) = installed.open_as_member(tcp(name))
    assert netns == cookie_inside(name)


def test_name_that_is_used_again_means_the_new_namespace(
    installed: Installed, make_namespace: Callable[..., str]
) -> None:
    name = make_namespace()
    ((_, old, _),) = installed.open_as_member(tcp(name))
    namespaces.delete(name)
    with pytest.raises(nsbroker.NamespaceNotFoundError):
        installed.open_as_member(tcp(name))
    namespaces.make(name)
    ((_, new, _),) = installed.open_as_member(tcp(name))
    assert (new == cookie_inside(name), new != old) == (True, True)


def test_request_waits_for_a_namespace(installed: Installed, make_namespace: Callable[..., str]) -> None:
    """The service notices the mount, though its mounts are its own."""
    name = f"{namespaces.PREFIX}awaited"
    client = start_as_user(USER, GROUP, wait_for, name, groups=installed.client_groups)
    make_namespace("awaited")
    assert client.result() == cookie_inside(name)


def wait_for(name: str) -> int:
    from support.inside import netns_cookie

    with nsbroker.Client(timeout=TIMEOUT_S) as client:
        return netns_cookie(client.open([tcp(name)], wait=60)[0])


def test_low_port_is_bound(installed: Installed, make_namespace: Callable[..., str]) -> None:
    ((_, _, name),) = installed.open_as_member(tcp(make_namespace(), "0.0.0.0", 80))
    assert name == ("0.0.0.0", 80)


def test_privileged_sockets_are_made(installed: Installed, make_namespace: Callable[..., str]) -> None:
    """With the capabilities that the unit leaves: raw, packet and netlink sockets, and a mark."""
    name = make_namespace()
    specs = [
        SocketSpec(name, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        SocketSpec(name, socket.AF_NETLINK, socket.SOCK_RAW, 0),
        SocketSpec(name, socket.AF_INET, socket.SOCK_DGRAM, options=((socket.SOL_SOCKET, socket.SO_MARK, 0x10),)),
        SocketSpec(name, socket.AF_PACKET, socket.SOCK_RAW, bind=("", 3)),
    ]
    expected = cookie_inside(name)
    assert [netns for _, netns, _ in installed.open_as_member(*specs)] == [expected] * len(specs)


def test_shell_tool_works(installed: Installed, make_namespace: Callable[..., str]) -> None:
    """`nsbroker-get` lists the namespace, and a program that is run in it is in it with all of its sockets."""
    name = make_namespace()
    assert name in installed.as_member(run, [TOOL, "list"])
    code = "import socket; s = socket.socket(); print(int.from_bytes(s.getsockopt(1, 71, 8), 'little'))"
    told = installed.as_member(run, [TOOL, name, "run", "--", "/usr/bin/python3", "-c", code])
    assert int(told) == cookie_inside(name)


def run(words: list[str]) -> str:
    done = subprocess.run(words, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
