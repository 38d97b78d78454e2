"""The examples of the documents: a proxy, and programs that use it, run as they stand there."""

from __future__ import annotations

import os
import shlex
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from support.documents import Example, examples
from support.proxied import HOST_OF_DOCUMENTS, Inside, Server, answer_http
from support.tool.running import program

ADDRESS, PATH = "127.0.0.1:1080", "/run/user/1000/blue"
"""The endpoints of the examples. Those of the machine may be in use."""


@pytest.fixture(scope="module")
def authority(place: Inside, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file with the authority of the servers at www.example.org, for http and https."""
    made = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.issue_cert(HOST_OF_DOCUMENTS).configure_cert(context)

    def serve_tls(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as stream:
            answer_http(stream)

    servers = [Server(place.name, answer_http, 80), Server(place.name, serve_tls, 443)]
    file = tmp_path_factory.mktemp("tls") / "authority.pem"
    made.cert_pem.write_to_path(str(file))
    yield file
    for server in servers:
        server.close()


@pytest.mark.parametrize("example", examples("sh proxy"), ids=str)
def test_example_with_a_proxy_runs(place: Inside, authority: Path, open_directory: Path, example: Example) -> None:
    program("curl")
    text = example.text.replace(PATH, f"{open_directory}/blue").replace(f"proxy -l {ADDRESS}", "proxy -l 127.0.0.1:0")
    first, *others = text.splitlines()
    tool, namespace, verb, *args = shlex.split(first, comments=True)
    assert (tool, namespace, verb) == ("nsbroker-get", "blue", "proxy")
    proxy = place.start(*args)
    assert others
    for line in others:
        environment = {"PATH": os.environ["PATH"], "HOME": str(open_directory), "CURL_CA_BUNDLE": str(authority)}
        command = ["sh", "-ec", line.replace(ADDRESS, proxy.address)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout[:4]) == (0, "GET "), (line, done)
