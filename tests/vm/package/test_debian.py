"""The Debian package in a pristine machine: from its installation to a page, an upgrade under load, removal and purge.

The tests build on each other, in their order. The package that is upgraded is of the first commit that builds one.
"""

from __future__ import annotations

import grp
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import namespaces
from support.adapters.programs import wait_for_listener
from support.brokers.load import Load
from support.checkout import CHECKOUT
from support.documents import examples
from support.inside import cookie_inside
from support.installed_service import SERVICE, SOCKET, SOCKET_PATH, Installed, command, systemctl
from support.waiting import wait_until

LIMIT_S = 600
GRANTS = Path("/etc/nsbroker/grants.d")
CONFIG = GRANTS.with_name("nsbrokerd.toml")
AUDIT = Path("/var/log/nsbroker/audit.json")
FIRST = CHECKOUT / "first"
FOR_ALL = GRANTS / "tests.toml"
ALL = '[[grant]]\nname = "tests"\nusers = ["*"]\nnamespaces = ["nsbt*"]\nsockets = ["tcp"]\nbind = ["*:*"]\n'


class WithAuditFile(Installed):
    """Reads the audit from its file, because the journal can drop lines after a daemon-reload."""

    def audit_with_parts(self) -> list[dict[str, Any] | None]:
        return [json.loads(line) for line in AUDIT.read_text().splitlines()]


def shell(text: str, directory: Path = CHECKOUT) -> str:
    """Run commands as root, as an administrator types them."""
    environment = ["env", "-i", "-C", str(directory), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]
    done = command(*environment, "DEBIAN_FRONTEND=noninteractive", "bash", "-euxc", text)
    print(done)
    return done


@pytest.fixture(scope="module", autouse=True)
def _blue() -> Iterator[None]:
    """The user alice, and the namespace blue with a server."""
    command("useradd", "--create-home", "--shell", "/bin/sh", "alice")
    command("ip", "netns", "add", "blue")
    command("ip", "-n", "blue", "link", "set", "lo", "up")
    site = ["ip", "netns", "exec", "blue", "python3", "-m", "http.server", "8080", "--directory", "/usr/share/doc"]
    with subprocess.Popen(site, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        wait_for_listener("blue", 8080)
        yield
        server.terminate()
    command("ip", "netns", "delete", "blue")
    command("userdel", "--remove", "alice")


def test_user_has_the_page_after_the_commands_of_the_document() -> None:
    """At most four of them, and only the first two are an administrator's."""
    [example] = examples("sh deb")
    commands = example.text.strip().splitlines()
    assert len(commands) <= 4
    assert commands[0] == "apt install ./nsbroker_*.deb"
    # Nobody answers the question of apt, and under emulation the broker takes seconds to start.
    asked = {"apt install": "apt install -y", "nsbroker-get": "nsbroker-get --timeout 300"}
    output = [shell(re.sub("|".join(asked), lambda found: asked[found[0]], line)) for line in commands]
    assert "HTTP/1.0 200 OK" in output[-1]
    assert "alice can use blue: tcp, udp sockets (grant 'alice in blue')" in output[1]


def test_library_is_there_for_debians_python() -> None:
    code = "import nsbroker; print(nsbroker.Namespace('blue').create_connection(('127.0.0.1', 8080)).getpeername())"
    assert command("su", "-", "alice", "-c", f'python3 -c "{code}"') == "('127.0.0.1', 8080)"


def test_libraries_of_the_broker_are_not_on_the_path_of_python() -> None:
    code = "import sys, importlib.util as u; print(u.find_spec('nsbrokerd'), [p for p in sys.path if 'nsbroker' in p])"
    assert command("env", "-i", "/usr/bin/python3", "-c", code) == "None []"


def test_units_have_no_mistake() -> None:
    units = sorted(path.name for path in Path("/usr/lib/systemd/system").glob("nsbroker*"))
    assert {SERVICE, SOCKET} <= set(units)
    assert command("systemd-analyze", "verify", *units) == ""


def test_removal_leaves_the_grants() -> None:
    shell("apt-get remove -y nsbroker")
    assert not SOCKET_PATH.exists()
    assert [path.name for path in GRANTS.iterdir()] == ["alice+blue.toml"]
    assert Installed().state() == "inactive"


def test_clients_under_load_do_not_notice_an_upgrade() -> None:
    """Every call succeeds, in the right namespace, and every socket is in the audit."""
    if not FIRST.exists():
        shell("apt install -y ./nsbroker_*.deb")
        pytest.skip("the first package is not there: the checkout has too little history")
    shell("apt install -y ./first/nsbroker_*.deb")
    FOR_ALL.write_text(ALL)
    assert CONFIG.read_text().count(f'# path = "{AUDIT}"') == 1
    CONFIG.write_text(CONFIG.read_text().replace(f'# path = "{AUDIT}"', f'path = "{AUDIT}"'))
    systemctl("start", SERVICE)
    installed, before, version = WithAuditFile(), Installed().pid, installed_version()
    cookies = {}
    try:
        for name in (f"{namespaces.PREFIX}upgrade{number}" for number in range(2)):
            namespaces.make(name)
            cookies[name] = cookie_inside(name)
        with Load(installed, cookies, 2, 1, LIMIT_S) as load:  # type: ignore[arg-type]
            wait_until(lambda: load.calls() >= 20 or load.failed(), LIMIT_S)
            # Both versions of the file have changed, and nobody answers the question of dpkg which one to keep.
            shell("apt install -y -o Dpkg::Options::=--force-confold ./nsbroker_*.deb")
            calls = load.calls()
            wait_until(lambda: load.calls() >= calls + 20 or load.failed(), LIMIT_S)
            assert load.stop().arrived > 50
    finally:
        for name in cookies:
            namespaces.delete(name)
    assert installed.pid not in (0, before)
    assert installed_version() != version
    assert f'\npath = "{AUDIT}"' in CONFIG.read_text()
    command("dpkg", "--compare-versions", installed_version(), "gt", version)


def installed_version() -> str:
    return command("dpkg-query", "--show", "--showformat=${Version}", "nsbroker")


def test_grants_can_be_taken_away() -> None:
    """The broker runs on, and refuses the namespace from then on."""
    FOR_ALL.unlink()
    assert "alice in blue" in command("su", "-", "alice", "-c", "nsbroker-get --timeout 300 list --json")
    shell("nsbrokerd ungrant alice blue")
    assert "alice" not in grp.getgrnam("nsbroker").gr_mem
    assert list(GRANTS.iterdir()) == []


def test_purge_leaves_nothing() -> None:
    """tests/vm/guest looks for everything else that has our name."""
    shell("nsbrokerd grant alice blue; apt-get purge -y nsbroker")
    for path in (Path("/etc/nsbroker"), Path("/var/log/nsbroker"), SOCKET_PATH.parent, Path("/sys/fs/bpf/nsbrokerd")):
        assert not path.exists(), path
    with pytest.raises(KeyError):
        grp.getgrnam("nsbroker")
    units = json.loads(command("systemctl", "list-units", "--all", "--output=json", "nsbroker*"))
    assert units == []
