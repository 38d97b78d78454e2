"""Which files and services `nsbroker-get run` covers: found out from directories alone."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nsbroker.supervise.etc_files import Plan, Service, make_plan


def make_socket(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as sock:
        # The path itself may be too long for an address.
        sock.bind(f"/proc/self/fd/{directory}/{path.name}")
    os.close(directory)


def test_where_there_is_nothing_nothing_is_done(tmp_path: Path) -> None:
    assert make_plan("blue", str(tmp_path)) == Plan((), ())


def test_each_file_of_the_namespace_covers_the_one_of_the_same_name(tmp_path: Path) -> None:
    directory = tmp_path / "etc/netns/blue"
    directory.mkdir(parents=True)
    for name in ("resolv.conf", "hosts"):
        (directory / name).touch()
    assert make_plan("blue", str(tmp_path)).files == (
        ("/etc/netns/blue/hosts", "/etc/hosts"),
        ("/etc/netns/blue/resolv.conf", "/etc/resolv.conf"),
    )
    assert make_plan("red", str(tmp_path)).files == ()


@pytest.mark.parametrize("name", ["", ".", "..", "../..", "blue/../blue", "/proc/self/ns/net"])
def test_what_is_no_name_has_no_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "etc/netns/blue").mkdir(parents=True)
    (tmp_path / "etc/netns/blue/hosts").touch()
    assert make_plan(name, str(tmp_path)).files == ()


def test_services_that_look_up_names_are_hidden_if_they_are_there(tmp_path: Path) -> None:
    """A directory of the same name without the socket need not be hidden."""
    (tmp_path / "run/dbus").mkdir(parents=True)
    assert make_plan("blue", str(tmp_path)).services == ()
    sockets = (
        "nscd/socket",
        "avahi-daemon/socket",
        "dbus/system_bus_socket",
        "systemd/resolve/io.systemd.Resolve",
    )
    for name in sockets:
        make_socket(tmp_path / "run" / name)
    assert make_plan("blue", str(tmp_path)).services == (
        Service("/run/nscd", ()),
        Service("/run/avahi-daemon", ()),
        Service("/run/dbus", ()),
        Service("/run/systemd/resolve", ("resolv.conf", "stub-resolv.conf")),
    )


def test_a_file_in_the_place_of_a_socket_is_nothing_to_hide(tmp_path: Path) -> None:
    (tmp_path / "run/nscd").mkdir(parents=True)
    (tmp_path / "run/nscd/socket").touch()
    assert make_plan("blue", str(tmp_path)).services == ()
