"""The recipes for programs in the documents: Node.js with a listener, and tcpdump for Wireshark."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from support.adapters.example_org import CLIENT, SERVER, ExampleOrg
from support.adapters.programs import Function, find_program, wait_for_listener
from support.brokers.process import BrokerProcess
from support.documents import Example, examples
from support.inside import call_inside
from support.users import USER, can_start_programs

GET = [sys.executable, "-P", "-m", "nsbroker.cli"]
PORT = 80
NOBODY_LISTENS = 9


@pytest.fixture(autouse=True)
def _programs_can_be_started() -> None:
    if not can_start_programs():
        pytest.skip("other users can't run this Python with this package")


def environment(path: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": path}


def run_until(_namespace: str, command: list[str], until: socket.socket) -> None:
    with subprocess.Popen(command, env=environment(os.environ["PATH"]), cwd="/tmp") as program:
        until.recv(1)
        program.terminate()


def ask() -> str:
    with urllib.request.urlopen(f"http://{CLIENT}:{PORT}/", timeout=20) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("example", examples("js server"), ids=str)
def test_server_of_node_serves_the_namespace(site: ExampleOrg, open_directory: Path, example: Example) -> None:
    """By a descriptor: Node.js has no right to the port."""
    if find_program("node") is None:
        pytest.skip("there is no node")
    script = open_directory / "server.js"
    script.write_text(example.text)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [*GET, site.client, "listen", "-l", str(PORT), "--", "node", str(script)]
        server = site.start(run_until, command, theirs)
        try:
            wait_for_listener(site.client, PORT)
            assert call_inside(site.server, ask) == SERVER
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            server.result()


PAUSE_S = 0.02


def send_datagrams() -> None:
    """Send to the clients' namespace, until this process is killed."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        while True:
            sock.sendto(b"to be seen", (CLIENT, NOBODY_LISTENS))
            threading.Event().wait(PAUSE_S)


def run_line(_namespace: str, line: str, path: str) -> tuple[str, str]:
    done = subprocess.run(["sh", "-c", line], env=environment(path), capture_output=True, text=True, check=False)
    return done.stdout, done.stderr


def programs(directory: Path, **lines: str) -> str:
    """A PATH with nsbroker-get and these programs."""
    lines["nsbroker-get"] = f'exec {sys.executable} -P -m nsbroker.cli "$@"'
    for name, line in lines.items():
        (directory / name).write_text(f"#!/bin/sh\n{line}\n")
        (directory / name).chmod(0o755)
    return f"{directory}:{os.environ['PATH']}:/usr/sbin:/sbin"


@pytest.mark.parametrize("example", examples("sh capture"), ids=str)
def test_packets_of_the_namespace_reach_wireshark(
    site: ExampleOrg, start_broker: Callable[[str], BrokerProcess], open_directory: Path, example: Example
) -> None:
    """With the grant of the document alone. Here, another tcpdump is the Wireshark, and prints the first packet."""
    if find_program("tcpdump") is None:
        pytest.skip("there is no tcpdump")
    grants = [other.text for other in examples("toml") if other.document == example.document]
    [grant] = [text for text in grants if "packet" in text]
    broker = start_broker(grant.replace('"alice"', str(USER)).replace('"blue"', f'"{site.client}"'))
    path = programs(open_directory, wireshark="exec tcpdump -nn -r - -c 1 udp port 9")
    line = example.text.replace(" blue ", f" {site.client} ")
    sender = Function(site.server, [], send_datagrams)
    try:
        seen, said = site.run(run_line, line, path, NSBROKER_SOCKET=str(broker.socket_path))
    finally:
        sender.stop()
    assert re.search(rf"IP {SERVER}\.\d+ > {CLIENT}\.{NOBODY_LISTENS}: UDP", seen), said
