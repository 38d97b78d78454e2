"""Chromium shows a page of a server in the namespace, by a name that only the namespace knows.

Debian's package chromium takes 400 MB, so tests/packages.txt does not list it. Without it, this file is skipped. With
NSBROKER_SCREENSHOT=FILE, a test writes the picture of client/docs/shell.md there.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.documents import Example, examples
from support.proxied import HOST, Inside, Server, exactly
from support.tool.running import program
from support.waiting import LIMIT_S

PAGE = """<!doctype html><title>blue</title>
<style>body { font: 20px sans-serif; margin: 2em; background: #eef3fb } code { color: #1f4e9e }</style>
<h1>Hello from the namespace</h1>
<p>You asked for <code>%s</code>, and come from <code>%s</code>.
<p id=script>The script of this page has not run.
<script src="/script.js"></script>
"""
SCRIPT = 'document.querySelector("#script").textContent = "Its script came by the proxy, too.";'
HEADLESS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--window-size=760,330"),
    "--virtual-time-budget=5000",
]


def serve_page(sock: socket.socket) -> None:
    """Answer requests for the page and its script, with the name and the address that the server sees."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += exactly(sock, 1)
    [host] = re.findall(r"^Host: (\S+?)(?::\d+)?\r$", request.decode(), re.MULTILINE)
    peer = sock.getpeername()[0].removeprefix("::ffff:")
    kind, text = ("text/javascript", SCRIPT) if b"/script.js" in request else ("text/html", PAGE % (host, peer))
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    sock.sendall((head + text).encode())


@pytest.fixture(scope="module")
def page_server(place: Inside) -> Iterator[Server]:
    server = Server(place.name, serve_page, 80)
    yield server
    server.close()


def chromium(directory: Path, *args: str) -> str:
    """Run it with a new profile, and return its standard output."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "XDG_RUNTIME_DIR": str(directory)}
    command = [program("chromium"), *HEADLESS, f"--user-data-dir={directory}/profile", *args]
    done = subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("scheme", ["socks5", "http"])
def test_page_is_loaded_by_its_name(place: Inside, page_server: Server, tmp_path: Path, scheme: str) -> None:
    program("chromium")
    proxy = place.start()
    shown = chromium(tmp_path, f"--proxy-server={scheme}://{proxy.address}", "--dump-dom", f"http://{HOST}/")
    assert f"<code>{HOST}</code>" in shown
    assert "Its script came by the proxy, too." in shown


@pytest.mark.parametrize("example", examples("sh browser"), ids=str)
def test_example_of_the_documents_shows_the_page(
    place: Inside, page_server: Server, tmp_path: Path, example: Example
) -> None:
    """With the picture that is in the documents."""
    program("chromium")
    proxy = place.start()
    name, *args = shlex.split(example.text.replace("127.0.0.1:1080", proxy.address))
    assert name == "chromium"
    picture = tmp_path / "page.png"
    chromium(tmp_path, f"--screenshot={picture}", *(arg for arg in args if not arg.startswith("--user-data-dir")))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert page_server.peers
    if kept := os.environ.get("NSBROKER_SCREENSHOT"):
        shutil.copy(picture, kept)
