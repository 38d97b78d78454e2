"""`nsbrokerd install` and `grant` on a real host, whose systemd starts and reloads the broker."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.adapters.programs import wait_for_listener
from support.installed_service import SERVICE, SOCKET, Installed, command, systemctl
from support.waiting import wait_until

NSBROKERD = "/opt/nsbroker/bin/nsbrokerd"
UNIT = Path("/etc/systemd/system") / SERVICE


def words(output: str) -> set[str]:
    return {line.split()[0] for line in output.splitlines()}


def test_second_installation_changes_nothing(installed: Installed) -> None:
    systemctl("start", SERVICE)
    pid = installed.pid
    assert words(command(NSBROKERD, "install")) == {"unchanged", "kept"}
    assert installed.pid == pid


def test_half_removed_installation_is_repaired(installed: Installed) -> None:
    systemctl("stop", SERVICE, SOCKET, "nsbrokerd-metrics.service")
    UNIT.unlink()
    Path("/usr/local/bin/nsbroker-get").unlink()
    output = command(NSBROKERD, "install")
    assert words(output) == {"unchanged", "kept", "wrote", "linked", "started"}
    assert installed.state(SOCKET) == "active"
    systemctl("start", SERVICE)


def test_old_unit_is_replaced_and_the_broker_restarts(installed: Installed) -> None:
    """A client that waits is served by the new broker."""
    from nsbrokerd.setup.marked_text import mark

    systemctl("start", SERVICE)
    _, _, text = UNIT.read_text().partition("\n")
    UNIT.write_text(mark(text.replace("WatchdogSec=30s", "WatchdogSec=60s"), "install"))
    pid = installed.pid
    output = command(NSBROKERD, "install")
    assert f"replaced  {UNIT}: it was from an earlier installation" in output
    assert f"restarted {SERVICE}" in output
    wait_until(lambda: installed.pid not in (0, pid) and installed.state() == "active")


def test_host_without_systemd_is_told() -> None:
    script = f"mount -t tmpfs none /run/systemd && exec {NSBROKERD} install"
    output = command("unshare", "--mount", "sh", "-c", script)
    assert f"skipped   systemd: it does not run here: let your init system run {NSBROKERD} serve" in output
    assert words(output) == {"unchanged", "kept", "skipped"}


@pytest.fixture
def carol() -> Iterator[None]:
    command("useradd", "--create-home", "--shell", "/bin/sh", "carol")
    command("ip", "netns", "add", "nsbt-carol-limited")
    command("ip", "-n", "nsbt-carol-limited", "link", "set", "lo", "up")
    site = [
        "ip",
        "netns",
        "exec",
        "nsbt-carol-limited",
        "python3",
        "-m",
        "http.server",
        "8080",
        "--directory",
        "/usr/share/doc",
    ]
    with subprocess.Popen(site, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        wait_for_listener("nsbt-carol-limited", 8080)
        yield
        server.terminate()
    command("nsbrokerd", "ungrant", "carol", "nsbt-carol-limited")  # if the test has failed before
    command("ip", "netns", "delete", "nsbt-carol-limited")
    command("userdel", "--remove", "carol")


@pytest.mark.usefixtures("carol")
def test_user_has_the_page_after_a_grant() -> None:
    """With the two commands that installed the broker, these are four."""
    page = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nsbroker-get --timeout 300 nsbt-carol-limited connect 127.0.0.1 8080"
    assert as_carol(page).returncode != 0
    command("nsbrokerd", "grant", "carol", "nsbt-carol-limited")
    assert "HTTP/1.0 200 OK" in as_carol(page).stdout
    command("nsbrokerd", "ungrant", "carol", "nsbt-carol-limited")
    assert as_carol(page).returncode != 0


@pytest.mark.usefixtures("carol")
def test_running_broker_takes_over_grants_and_their_end(installed: Installed) -> None:
    """With a limit, too. The pid is the same, so it was a reload."""
    systemctl("start", SERVICE)
    wait_until(lambda: installed.state() == "active")
    pid = installed.pid
    options = "--sockets", "udplite", "--connect", "127.0.0.0/8:5000"
    output = command("nsbrokerd", "grant", "carol", "nsbt-carol-limited", *options)
    # The limit also has the name servers of the machine.
    assert "carol can use nsbt-carol-limited: udplite sockets; they can connect to 127.0.0.0/8:5000" in output
    wait_until(lambda: "carol in nsbt-carol-limited" in as_carol("nsbroker-get --timeout 300 list --json").stdout)
    command("nsbrokerd", "ungrant", "carol", "nsbt-carol-limited")
    wait_until(lambda: "carol in nsbt-carol" not in as_carol("nsbroker-get --timeout 300 list --json").stdout)
    assert installed.pid == pid


def as_carol(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["su", "-", "carol", "-c", text], capture_output=True, text=True, check=False)
