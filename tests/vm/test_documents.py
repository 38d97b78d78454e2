"""The commands of the administrators' documents, as they stand there, on the installed service.

tests/vm/guest runs the first block of install.md before all tests, and its last one after them.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import nsbroker
from support.adapters.programs import wait_for_listener
from support.documents import Example, examples
from support.installed_service import Installed, command, tcp
from support.waiting import wait_until

INSTALL = "deploy/docs/install.md"
LIMITS = "deploy/docs/limits.md"
GRANTS = Path("/etc/nsbroker/grants.d")
PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(text: str) -> str:
    """Run commands of a block as root; all must succeed."""
    return command("env", f"PATH={PATH}", "bash", "-euxc", text.replace("'.[broker]'", "'nsbroker[broker]'"))


def as_alice(text: str) -> str:
    return command("su", "-", "alice", "-c", f"set -e\n{text}")


def of(document: str, *kinds: str) -> list[Example]:
    return [example for example in examples(*kinds) if example.document == document]


@pytest.fixture(scope="module")
def alice(installed: Installed) -> Iterator[None]:
    """The reader's own user, whom install.md lets in, and the namespace that it makes."""
    command("useradd", "--create-home", "--shell", "/bin/sh", "alice")
    for example in of(INSTALL, "sh vm")[1:]:
        run(example.text)
    yield
    run("nsbrokerd ungrant alice blue && ip netns delete blue")


@pytest.mark.usefixtures("alice")
def test_first_page_is_fetched_from_the_namespace() -> None:
    [server], [client] = of(INSTALL, "sh alice server"), of(INSTALL, "sh alice")
    wait_until(lambda: "alice in blue" in as_alice("nsbroker-get --timeout 60 list"))
    with subprocess.Popen(["su", "-", "alice", "-c", f"exec {server.text}"]) as program:
        try:
            wait_for_listener("blue", 8080)
            output = as_alice(client.text)
        finally:
            program.terminate()
    assert "alice in blue" in output
    assert "HTTP/1.0 200 OK" in output


@pytest.mark.usefixtures("alice")
def test_sockets_of_alice_are_listed_and_revoked() -> None:
    """A grant with a limit, as it stands in limits.md, is the only one for her; then the commands of limits.md."""
    [grant], [block] = of(LIMITS, "toml"), of(LIMITS, "sh vm")
    file, others = GRANTS / "limits.toml", GRANTS / "alice+blue.toml"
    kept = others.read_text()
    others.write_text("")
    file.write_text(grant.text)
    try:
        run("systemctl reload nsbrokerd")
        wait_until(lambda: "outgoing web" in as_alice("nsbroker-get --timeout 60 list"))
        hold = "exec nsbroker-get --timeout 60 blue socket --type tcp --fd 3 -- sleep 600"
        with subprocess.Popen(["su", "-", "alice", "-c", hold]) as holder:
            try:
                wait_until(lambda: "outgoing web" in run("nsbrokerd sockets"))
                assert "1 socket revoked" in run(block.text)
            finally:
                holder.terminate()
    finally:
        file.unlink()
        others.write_text(kept)
        run("systemctl reload nsbrokerd")


OTHERS = [example for example in examples("sh vm") if example.document not in (INSTALL, LIMITS)]


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize("example", OTHERS, ids=str)
def test_commands_succeed(installed: Installed, example: Example) -> None:
    with pytest.raises(nsbroker.AccessDeniedError):
        installed.open_as_member(tcp("@host")._replace(family=socket.AF_NETLINK, type=socket.SOCK_RAW, proto=12))
    run(example.text)


def test_there_are_commands() -> None:
    assert len(OTHERS) >= 4
