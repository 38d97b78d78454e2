"""From the commands of deploy/docs/install.md to the first socket. Runs first: nothing has used the service before."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import nsbroker
from support.inside import cookie_inside
from support.installed_service import SERVICE, SOCKET, Installed, command, systemctl, tcp
from support.users import as_unprivileged

SCTP_MODULE = Path("/sys/module/sctp")


def test_socket_is_enabled_and_nothing_runs_yet(installed: Installed) -> None:
    assert systemctl("is-enabled", SOCKET) == "enabled"
    assert (installed.state(SOCKET), installed.state(SERVICE)) == ("active", "inactive")
    assert not SCTP_MODULE.exists()


def test_who_is_not_in_the_group_can_not_even_connect(installed: Installed) -> None:
    with pytest.raises(nsbroker.BrokerUnavailableError, match="group"):
        as_unprivileged(connect)
    assert installed.state(SERVICE) == "inactive"


def connect() -> None:
    nsbroker.Client().namespaces()


def test_first_client_starts_the_service(installed: Installed) -> None:
    """An unprivileged user in the group nsbroker gets a socket from a service that was not running."""
    ((_, _, name),) = installed.open_as_member(tcp("@host", "127.0.0.1", 0))
    assert installed.state(SERVICE) == "active"
    assert name[1] != 0


def test_start_has_loaded_the_module_that_a_grant_needs(installed: Installed) -> None:
    """The service can't load modules, but the kernel does when the service tries the kinds of its grants."""
    assert SCTP_MODULE.exists()
    assert len(installed.open_as_member(tcp("@host")._replace(proto=socket.IPPROTO_SCTP))) == 1


def test_first_namespace_of_the_machine_is_seen(installed: Installed) -> None:
    """The socket's unit has made /run/netns a shared mount. The running service, with its own mounts, sees the name."""
    assert is_mounted("/run/netns")
    assert installed.state(SERVICE) == "active"
    command("ip", "netns", "add", "first")
    try:
        ((_, netns, _),) = installed.open_as_member(tcp("first"))
        assert netns == cookie_inside("first")
    finally:
        command("ip", "netns", "delete", "first")


def is_mounted(path: str) -> bool:
    return any(line.split()[4] == path for line in Path("/proc/self/mountinfo").read_text().splitlines())


def test_units_have_no_mistake(installed: Installed) -> None:
    """As systemd reads them: no unknown setting, no file that is missing."""
    assert command("systemd-analyze", "verify", SERVICE, SOCKET, "nsbrokerd-control.socket") == ""
