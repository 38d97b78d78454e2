"""Recipes for servers that take a listening socket. Each function is the recipe, and ends after a request."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

import hypercorn.asyncio
import hypercorn.config
import pytest
import uvicorn

import nsbroker
from support.adapters.applications import asgi, wsgi
from support.adapters.example_org import CLIENT, SERVER, ExampleOrg
from support.adapters.programs import wait_for_listener
from support.inside import call_inside

PORT = 80
"""Each of them gets it without a right to it: the broker binds."""


def by_uvicorn(namespace: str) -> None:
    blue = nsbroker.Namespace(namespace)
    config = uvicorn.Config(asgi, lifespan="off", limit_max_requests=1, log_level="error")
    uvicorn.Server(config).run(sockets=[blue.create_server(("", PORT))])


def by_hypercorn(namespace: str) -> None:
    blue = nsbroker.Namespace(namespace)
    config = hypercorn.config.Config()
    config.bind = [f"fd://{blue.create_server(('', PORT)).detach()}"]

    async def serve() -> None:
        answered = asyncio.Event()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            try:
                await asgi(scope, receive, send)
            finally:
                if scope["type"] == "http":
                    answered.set()

        await hypercorn.asyncio.serve(application, config, shutdown_trigger=answered.wait)  # type: ignore[arg-type]

    asyncio.run(serve())


def by_gevent(namespace: str) -> None:
    # Not before: the event loops of other tests refuse to exist beside gevent.
    import gevent.event
    import gevent.pywsgi

    blue = nsbroker.Namespace(namespace)
    answered = gevent.event.Event()

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answered.set()
        return wsgi(environ, start_response)

    # gevent's servers want a socket of gevent's own class.
    listener = gevent.socket.socket(fileno=blue.create_server(("", PORT)).detach())
    server = gevent.pywsgi.WSGIServer(listener, application, log=None)
    server.start()
    answered.wait()
    server.stop(timeout=20)


def ask() -> str:
    with urllib.request.urlopen(f"http://{CLIENT}/", timeout=20) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("recipe", [by_uvicorn, by_hypercorn, by_gevent])
def test_server_serves_the_namespace(site: ExampleOrg, recipe: Callable[[str], None]) -> None:
    server = site.start(recipe)
    wait_for_listener(site.client, PORT)
    assert call_inside(site.server, ask) == SERVER
    server.result()


GET = [sys.executable, "-P", "-m", "nsbroker.cli"]
"""The program `nsbroker-get`."""
PROGRAMS = {
    "gunicorn": ["-m", "gunicorn", "--workers", "1", "--worker-tmp-dir", "/tmp", "support.adapters.applications:wsgi"],
    "uvicorn": ["-m", "uvicorn", "--fd", "3", "--log-level", "error", "support.adapters.applications:asgi"],
    "hypercorn": ["-m", "hypercorn", "--bind", "fd://3", "support.adapters.applications:asgi"],
}


def run_program(namespace: str, arguments: list[str], until: socket.socket) -> int:
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    command = [*GET, namespace, "listen", "-l", str(PORT), "--", sys.executable, *arguments]
    with subprocess.Popen(command, env=environment, cwd="/tmp") as program:
        until.recv(1)
        program.terminate()
        return program.wait()


@pytest.mark.parametrize("name", PROGRAMS)
def test_server_program_serves_the_namespace(site: ExampleOrg, name: str) -> None:
    """As nsbroker-get starts it, with the socket as its descriptor 3: no line of it is changed."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = site.start(run_program, PROGRAMS[name], theirs)
        try:
            wait_for_listener(site.client, PORT)
            assert call_inside(site.server, ask) == SERVER
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            server.result()
