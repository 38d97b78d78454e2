"""Services whose sockets are in a namespace: the template and the drop-in of deploy/services, under systemd."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from support.adapters.programs import wait_for_listener
from support.checkout import CHECKOUT
from support.inside import call_inside
from support.installed_service import SERVICE, TIMEOUT_S, Installed, command, systemctl
from support.waiting import wait_until

SERVICES = CHECKOUT / "deploy" / "services"
UNITS = Path("/etc/systemd/system")
GRANTS = Path("/etc/nsbroker/grants.d/services.toml")
PORT = 8080

GRANT = """
[[grant]]
name = "services"
groups = ["web-sockets"]
namespaces = ["*-limited"]
sockets = ["tcp", "udp"]
"""
"""The other grant, of all users, leaves these namespaces out."""

EXPORTER = """
[Service]
ExecStart=/bin/false
ExecReload=/bin/kill -HUP $MAINPID
DynamicUser=yes
SupplementaryGroups=web-sockets
"""
PROGRAM = f"/usr/bin/python3 -m http.server --directory /usr/share/doc {PORT}"


@pytest.fixture
def name(installed: Installed, make_namespace: Callable[..., str]) -> Iterator[str]:
    """A namespace for members of the group "web-sockets" alone."""
    systemctl("start", SERVICE)
    command("groupadd", "--system", "web-sockets")
    GRANTS.write_text(GRANT)
    try:
        systemctl("reload", SERVICE)
        yield make_namespace("limited")
    finally:
        GRANTS.unlink()
        systemctl("reload", SERVICE)
        command("groupdel", "web-sockets")


def _page() -> str:
    with urlopen(f"http://127.0.0.1:{PORT}/", timeout=TIMEOUT_S) as page:
        return str(page.read().decode())


def _judge(unit: str, name: str) -> None:
    """Its page is in the namespace and not on the host, its user has no rights, and it is the program itself."""
    wait_for_listener(name, PORT)
    assert "Directory listing" in call_inside(name, _page)
    with pytest.raises(OSError, match="refused"):
        _page()
    pid = systemctl("show", "--property=MainPID", "--value", unit)
    status = dict(re.findall(r"^(\w+):\s*(.*)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))
    assert "0" not in status["Uid"].split()
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == int(status["CapAmb"], 16) == 0
    assert f"http.server\0--directory\0/usr/share/doc\0{PORT}" in Path(f"/proc/{pid}/cmdline").read_text()
    assert not os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.stat(f"/run/netns/{name}"))


def test_template_serves_its_namespace(name: str) -> None:
    unit = f"web@{name}.service"
    file = UNITS / "web@.service"
    file.write_text((SERVICES / "web@.service").read_text())
    try:
        systemctl("daemon-reload")
        systemctl("start", unit)
        _judge(unit, name)
        assert command("systemctl", "is-active", unit) == "active"
    finally:
        systemctl("stop", unit)
        file.unlink()
        systemctl("daemon-reload")


def test_drop_in_moves_a_service(name: str) -> None:
    """Signals reach the program itself: the web server dies of SIGHUP."""
    unit = "exporter.service"
    file = UNITS / unit
    drop_in = UNITS / f"{unit}.d" / "namespace.conf"
    drop_in.parent.mkdir()
    file.write_text(EXPORTER)
    text = (SERVICES / "namespace.conf").read_text()
    drop_in.write_text(text.replace(" blue ", f" {name} ").replace("/usr/bin/exporter", PROGRAM))
    try:
        systemctl("daemon-reload")
        systemctl("start", unit)
        _judge(unit, name)
        systemctl("reload", unit)
        wait_until(lambda: systemctl("show", "--property=ActiveState", "--value", unit) == "inactive")
    finally:
        systemctl("stop", unit)
        drop_in.unlink()
        drop_in.parent.rmdir()
        file.unlink()
        systemctl("daemon-reload")
