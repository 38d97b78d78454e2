"""`nsbroker-get NS listen` with servers as they come from the distribution. As an unprivileged user, on low ports."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.brokers.process import BrokerProcess
from support.inside import call_inside
from support.tool.running import Running, RunTool, children, program, python, run_tool
from support.users import GROUP, USER, as_unprivileged
from support.waiting import LIMIT_S, wait_until

BOTH = ["-l", "127.0.0.1:80", "-l", "[::1]:80"]
ADDRESSES = [(socket.AF_INET, ("127.0.0.1", 80)), (socket.AF_INET6, ("::1", 80))]


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("serve")


@pytest.fixture
def run(shared_broker: BrokerProcess) -> Iterator[RunTool]:
    with run_tool(shared_broker) as tool:
        yield tool


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the user's."""
    path = tmp_path_factory.mktemp("place")
    for directory in (path.parent, path.parent.parent):
        directory.chmod(0o755)
    os.chown(path, USER, GROUP)
    return path


def get_page(family: int, address: tuple[str, int]) -> str:
    """Fetch the page of a web server as soon as it answers, and return the body."""
    with socket.socket(family) as sock:
        sock.settimeout(LIMIT_S)
        wait_until(lambda: sock.connect_ex(address) == 0)
        sock.sendall(b"GET /page HTTP/1.0\r\nHost: x\r\n\r\n")
        return sock.makefile("rb").read().decode().partition("\r\n\r\n")[2]


def get_pages(count: int, places: list[tuple[int, tuple[str, int]]]) -> set[str]:
    return {get_page(*place) for _ in range(count) for place in places}


def end(server: Running, number: int = 15, status: int = 0) -> None:
    server.send(number)
    done = server.finish()
    assert done.status == status, done


NGINX = """
worker_processes 2; pid {place}/pid; error_log {place}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
    server {{ listen 127.0.0.1:80; listen [::1]:80; return 200 "from worker $pid\\n"; }}
}}
"""


def test_nginx_with_workers(run: RunTool, name: str, place: Path) -> None:
    """It takes the listeners for those of its configuration, and stays in the foreground as long as it serves."""
    config = place / "nginx.conf"
    config.write_text(NGINX.format(place=place))
    command = [program("nginx"), "-c", str(config), "-e", f"{place}/error.log"]
    server = run.start(name, "listen", "--nginx", *BOTH, "--", *command)
    pages = call_inside(name, get_pages, 25, ADDRESSES)
    assert {re.sub(r"\d+", "N", page) for page in pages} == {"from worker N\n"}
    assert {int(page.split()[-1]) for page in pages} <= children(server.pid)
    # Reloaded, it keeps them.
    server.send(1)
    assert call_inside(name, get_page, *ADDRESSES[0]).startswith("from worker ")
    end(server)


HAPROXY = """
defaults
    mode http
    timeout client 10s
    timeout connect 10s
    timeout server 10s
frontend both
    bind fd@3
    bind fd@${WEB6}
    http-request return status 200 content-type text/plain string "from haproxy\\n"
"""


def test_haproxy(run: RunTool, name: str, place: Path) -> None:
    """By the numbers of descriptors, written or from a variable."""
    config = place / "haproxy.cfg"
    config.write_text(HAPROXY)
    command = [program("haproxy"), "-db", "-f", str(config)]
    server = run.start(name, "listen", *BOTH, "--", "env", "WEB6=4", *command)
    assert call_inside(name, get_pages, 3, ADDRESSES) == {"from haproxy\n"}
    end(server, signal.SIGUSR1)


APPLICATION = """
async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"from asgi"})

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [b"from wsgi"]
"""


def python_module(module: str) -> list[str]:
    """Return a command for a module of this Python, even if the user can't run this Python itself."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        pytest.skip(f"there is no {module}")
    load = f"import runpy, sys; sys.path.append({str(Path(spec.origin).parents[1])!r})"
    if as_unprivileged(subprocess.call, [python(), "-I", "-c", f"{load}; import {module}"]) != 0:
        pytest.skip(f"the unprivileged user can't use {module}")
    return [python(), "-I", "-c", f"{load}; runpy.run_module({module!r}, run_name='__main__')"]


@pytest.fixture
def application(place: Path) -> Path:
    (place / "application.py").write_text(APPLICATION)
    return place


def test_uvicorn(run: RunTool, name: str, application: Path) -> None:
    command = [*python_module("uvicorn"), "--fd", "3", "--lifespan", "off"]
    listen = [name, "listen", *BOTH[:2], "--"]
    server = run.start(*listen, *command, "--app-dir", str(application), "application:asgi")
    assert call_inside(name, get_pages, 3, ADDRESSES[:1]) == {"from asgi"}
    end(server, status=-15)


def test_gunicorn_with_workers(run: RunTool, name: str, application: Path) -> None:
    """It knows LISTEN_FDS, and so needs no option."""
    command = [*python_module("gunicorn"), "--workers", "2"]
    chdir = ["--chdir", str(application), "application:wsgi"]
    server = run.start(name, "listen", *BOTH, "--", *command, *chdir)
    assert call_inside(name, get_pages, 3, ADDRESSES) == {"from wsgi"}
    end(server)


def test_git_daemon_as_from_inetd(run: RunTool, name: str, place: Path) -> None:
    """Each connection is a whole session. The server reads REMOTE_ADDR, and prints it."""
    git, repository = program("git"), place / "source"
    who = ["-c", "user.name=tester", "-c", "user.email=tester@localhost"]
    for args in (
        ["init", "-q", str(repository)],
        ["-C", str(repository), *who, "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        as_unprivileged(subprocess.run, [git, *args])
    daemon = [git, "daemon", "--inetd", "--export-all", "--verbose", "--log-destination=stderr", f"--base-path={place}"]
    server = run.start(name, "listen", *BOTH, "--accept", "--inetd", "--max", "1", "--", *daemon)
    for url in ("git://127.0.0.1:80/source", "git://[::1]:80/source"):
        shown = call_inside(name, _output_at_last, [git, "ls-remote", url, "HEAD"])
        assert shown.endswith("\tHEAD\n")
    server.send(15)
    done = server.finish()
    assert done.status == 0
    assert "Connection from 127.0.0.1:" in done.err
    assert "Connection from ::1:" in done.err or "Connection from [::1]:" in done.err


def test_sshd_as_from_inetd(run: RunTool, name: str, place: Path) -> None:
    """The server proves that it has its key. Only root could log a user in."""
    subprocess.run([program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", place / "host"], check=True)
    os.chown(place / "host", USER, GROUP)
    (place / "config").write_text(f"HostKey {place}/host\nUsePAM no\n")
    sshd = [program("sshd"), "-i", "-f", f"{place}/config"]
    server = run.start(name, "listen", "-l", "127.0.0.1:22", "--accept", "--inetd", "--", *sshd)
    scan = [program("ssh-keyscan"), "-T", str(LIMIT_S), "-t", "ed25519", "127.0.0.1"]
    key = " ".join((place / "host.pub").read_text().split()[:2])
    # Newer versions show the server's banner in a comment before it.
    assert call_inside(name, _output_at_last, scan).splitlines()[-1] == f"127.0.0.1 {key}"
    end(server)


def _output_at_last(command: list[str]) -> str:
    """Return the output of a client once a server answers it."""
    shown = ""

    def has_shown() -> bool:
        nonlocal shown
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return shown != ""

    wait_until(has_shown)
    return shown
