"""Every example of the documents for Python and the shell runs as it stands there, without rights, and leaks nothing.

support/documents.py says which examples these are, and which tests run the others.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import requests
import websockets.sync.server

import nsbroker.adapters.asyncio  # some users can't read the files of the package
from support.adapters import applications, mysql_server, recipe_servers, ssh_server
from support.adapters.example_org import CLIENT, SERVER, ExampleOrg
from support.adapters.programs import Function, find_program, listens_on, wait_for_listener
from support.brokers.process import BrokerProcess
from support.documents import Example, examples
from support.go_programs import Go
from support.inside import call_inside
from support.namespaces import PREFIX
from support.own_engine import answer_with, describe, fake_engine
from support.sctp import why_not as why_no_sctp
from support.sockets_inside import open_inside
from support.users import GROUP, USER, as_user, can_start_programs
from support.waiting import wait_until

NAMESPACES = {"alpha": f"{PREFIX}alpha", "beta": f"{PREFIX}beta"}
"""The names in the examples beside "blue", which is the clients' namespace of example.org."""

WEBSOCKET_PORT = 8001
LOG_PORT = 514

FIXTURES = {
    "www.example.org": "web",
    "redis.example.org": "redis_at_example_org",
    "mail.example.org": "mail",
    "ftp.example.org": "ftp",
    "mqtt.example.org": "mqtt",
    "s3.example.org": "s3",
    "router.example.org": "router",
    f":{recipe_servers.ELASTICSEARCH_PORT}": "http_recipes",
    f":{recipe_servers.PUSH_PORT}": "http_recipes",
    f" {recipe_servers.POSTGRES_PORT})": "postgres",
    "pymysql": "mysql",
    f":{WEBSOCKET_PORT}": "websockets_at_example_org",
    f" {LOG_PORT} ": "log_at_example_org",
    "alice": "ssh",
}
"""Fixtures that an example needs, by a text in it."""


@pytest.fixture(scope="session")
def websockets_at_example_org(site: ExampleOrg) -> Iterator[None]:
    """A server that says hello, on WEBSOCKET_PORT of www.example.org."""
    server = Function(site.server, [WEBSOCKET_PORT], serve_websockets)
    yield
    server.stop()


def serve_websockets() -> None:
    def greet(connection: websockets.sync.server.ServerConnection) -> None:
        connection.send("hello")

    with websockets.sync.server.serve(greet, "0.0.0.0", WEBSOCKET_PORT) as server:
        server.serve_forever()


@pytest.fixture(scope="session")
def log_at_example_org(site: ExampleOrg) -> Iterator[None]:
    """A socket that takes datagrams in, on LOG_PORT."""
    with open_inside(site.server, socket.SOCK_DGRAM, LOG_PORT):
        yield


@pytest.fixture
def readers_text(request: pytest.FixtureRequest, site: ExampleOrg, make_namespace: Callable[[str], str]) -> Prepare:
    """Starts what an example needs, and puts the names of this machine into it."""

    def prepare(text: str) -> str:
        for part, fixture in FIXTURES.items():
            if part in text:
                request.getfixturevalue(fixture)
        for name, real in {**NAMESPACES, "blue": site.client}.items():
            if name != "blue" and f'"{name}"' in text:
                make_namespace(name)
            text = text.replace(f'"{name}"', f'"{real}"').replace(f" {name} ", f" {real} ")
            text = re.sub(rf" {name}$", f" {real}", text, flags=re.MULTILINE)
        if "alice" in text:
            server: ssh_server.SshServer = request.getfixturevalue("ssh")
            text = as_user_of(server, text)
        text = text.replace('user="alice"', f'user="{mysql_server.USER}"')
        # A port of the machine itself may be in use.
        return text.replace('("@host", ("", 8080))', '("@host", ("", 0))').replace("10.0.0.1", SERVER)

    return prepare


Prepare = Callable[[str], str]


def as_user_of(server: ssh_server.SshServer, text: str) -> str:
    """What the reader has in the directory ~/.ssh."""
    options = f"-F none -i {server.user_key} -o BatchMode=yes -o UserKnownHostsFile={server.known_hosts}"
    return (
        text.replace("alice@", f"{ssh_server.USER}@")
        .replace("ssh -o", f"ssh {options} -o")
        .replace("load_system_host_keys()", f"load_host_keys({str(server.known_hosts)!r})")
        .replace(
            'username="alice", sock=blue',
            f'username="{ssh_server.USER}", key_filename={str(server.user_key)!r}, sock=blue',
        )
        .replace(
            'username="alice", sock=sock',
            f'username="{ssh_server.USER}", client_keys=[{str(server.user_key)!r}], '
            f"known_hosts={str(server.known_hosts)!r}, config=None, agent_path=None, sock=sock",
        )
    )


def run_example(_namespace: str, code: str, **names: object) -> None:
    # requests brings its own authorities, and does not believe the environment; aiohttp read it when it was imported.
    authority = os.environ["SSL_CERT_FILE"]
    requests.adapters.DEFAULT_CA_BUNDLE_PATH = authority
    if context := getattr(requests.adapters, "_preloaded_ssl_context", None):
        context.load_verify_locations(authority)
    aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(authority)
    exec(compile(code, "document", "exec"), {"__name__": "__main__", **names})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("example", examples("python"), ids=str)
def test_example_runs(site: ExampleOrg, readers_text: Prepare, example: Example) -> None:
    """What it shows is what happens."""
    site.run(run_example, readers_text(example.text))


@pytest.mark.parametrize("example", examples("python sctp"), ids=str)
def test_example_with_sctp_runs(site: ExampleOrg, readers_text: Prepare, example: Example) -> None:
    if reason := why_no_sctp():
        pytest.skip(reason)
    site.run(run_example, readers_text(example.text))


def interpreter() -> list[str]:
    return [sys.executable, "-P", "-W", "ignore", "-c"]


def environment() -> dict[str, str]:
    """With the package and the applications of the recipes; without proxies, which lead nowhere."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    places = [os.path.dirname(applications.__file__), *sys.path]
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, places))}


def run_alone(_namespace: str, code: str) -> str:
    done = subprocess.run([*interpreter(), code], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def _programs_can_be_started() -> None:
    if not can_start_programs():
        pytest.skip("nobody can't run this Python with this package")


@pytest.mark.usefixtures("_programs_can_be_started")
@pytest.mark.parametrize("example", examples("python patch"), ids=str)
def test_example_with_patch_runs(site: ExampleOrg, readers_text: Prepare, example: Example) -> None:
    assert CLIENT in site.run(run_alone, readers_text(example.text))


def run_server(_namespace: str, command: list[str], path: str, until: socket.socket) -> None:
    """Run a server until somebody writes to the socket."""
    with subprocess.Popen(command, env=environment() | {"PATH": path}, cwd="/tmp") as program:
        until.recv(1)
        program.terminate()


def serves(site: ExampleOrg, command: list[str], path: str, port: int, ask: Callable[[int], str]) -> str:
    """What the server answers to a client that comes from example.org's network."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = site.start(run_server, command, path, theirs)
        try:
            wait_for_listener(site.client, port)
            return str(call_inside(site.server, ask, port))
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            server.result()


def get(port: int) -> str:
    with urllib.request.urlopen(f"http://{CLIENT}:{port}/", timeout=20) as answer:
        return str(answer.read().decode())


def read_all(port: int) -> str:
    with socket.create_connection((CLIENT, port), timeout=20) as sock, sock.makefile() as stream:
        return stream.read()


@pytest.mark.usefixtures("_programs_can_be_started")
@pytest.mark.parametrize("example", examples("python server"), ids=str)
def test_example_of_a_server_serves_the_namespace(site: ExampleOrg, readers_text: Prepare, example: Example) -> None:
    code = readers_text(example.text)
    assert serves(site, [*interpreter(), code], os.environ["PATH"], 80, get) == SERVER


@pytest.fixture(scope="module")
def go(request: pytest.FixtureRequest) -> Go:
    if reason := Go.why_not():
        pytest.skip(reason)
    assert request.config.cache is not None
    return Go(request.config.cache.mkdir("go-build"))


def run_program(_namespace: str, program: str) -> str:
    done = subprocess.run([program], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", examples("go"), ids=str)
def test_example_in_go_runs(
    site: ExampleOrg, readers_text: Prepare, go: Go, open_directory: Path, example: Example
) -> None:
    program = go.build(open_directory, readers_text(example.text))
    assert site.run(run_program, str(program))


@pytest.mark.parametrize("example", examples("go server"), ids=str)
def test_example_of_a_server_in_go_serves_the_namespace(
    site: ExampleOrg, readers_text: Prepare, go: Go, open_directory: Path, example: Example
) -> None:
    program = go.build(open_directory, readers_text(example.text))
    assert serves(site, [str(program)], os.environ["PATH"], 80, get) == SERVER


_LISTENS_IN_ITS_OWN = """
import http.server
http.server.HTTPServer(("127.0.0.1", 8080), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def run_beside_own(socket_path: str, code: str) -> None:
    """Run an example beside a server in namespaces of this user's own, which is the container web of its podman."""
    os.environ["NSBROKER_SOCKET"] = socket_path
    unshare = ["unshare", "--user", "--map-root-user", "--net"]
    up = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    with subprocess.Popen([*unshare, *up, *interpreter(), _LISTENS_IN_ITS_OWN], stderr=subprocess.PIPE) as server:
        try:
            wait_until(lambda: server.poll() is not None or listens_on(f"/proc/{server.pid}", [8080]))
            assert server.poll() is None, server.communicate()
            with tempfile.TemporaryDirectory() as runtime:
                os.environ["XDG_RUNTIME_DIR"] = runtime
                with fake_engine(Path(runtime), answer_with(describe(server.pid, "web"))):
                    exec(compile(code, "document", "exec"), {"pid": server.pid})
        finally:
            server.kill()


@pytest.mark.usefixtures("_programs_can_be_started")
@pytest.mark.parametrize("example", examples("python own"), ids=str)
def test_example_with_an_own_namespace_runs(start_broker: Callable[[str], BrokerProcess], example: Example) -> None:
    grants = next(other.text for other in examples("toml") if other.document == example.document)
    broker = start_broker(re.sub("^groups.*", 'users = ["*"]', grants, flags=re.MULTILINE))
    as_user(USER, GROUP, run_beside_own, str(broker.socket_path), example.text)


@pytest.fixture
def commands(open_directory: Path) -> str:
    """The PATH of a reader: with nsbroker-get, and with the reader's own programs."""
    one_listener = 'test "$LISTEN_FDS" = 1 -a -S /proc/self/fd/3'
    for name, line in {
        "nsbroker-get": f'exec {sys.executable} -P -m nsbroker.cli "$@"',
        # The real ones are tested in tests/kernel/client/cli/test_listen_programs.py and in recipes/test_servers.py.
        "gunicorn": 'test "$LISTEN_FDS" = 2 -a -S /proc/self/fd/3 -a -S /proc/self/fd/4',
        "uvicorn": one_listener,
        "node": one_listener,
        "hypercorn": one_listener,
        "haproxy": one_listener,
        "dns-server": 'test "$LISTEN_FDNAMES" = tcp:udp -a -S /proc/self/fd/3 -a -S /proc/self/fd/4',
        "nginx": 'test "$NGINX" = "3;" -a -S /proc/self/fd/3',
        "sshd": 'echo "this is sshd $1 for $REMOTE_ADDR"',
        "your-program": "test -S /proc/self/fd/5",
        "pinger": "test -S /proc/self/fd/3",
        "sniffer": "test -S /proc/self/fd/3",
    }.items():
        (open_directory / name).write_text(f"#!/bin/sh\n{line}\n")
        (open_directory / name).chmod(0o755)
    # Without a terminal, curl draws its progress there.
    (open_directory / ".curlrc").write_text("silent\nshow-error\n")
    return f"{open_directory}:{os.environ['PATH']}"


def with_programs(line: str) -> str:
    """The programs of the example are in the PATH."""
    return line.replace(" ./", " ").replace("/usr/sbin/sshd", "sshd")


def run_line(_namespace: str, line: str, path: str) -> tuple[int, str, str]:
    reader = {"PATH": path, "CURL_HOME": path.partition(":")[0]}
    done = subprocess.run(["sh", "-ec", line], env=environment() | reader, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


LINES = [
    pytest.param(line, id=f"{example.document}:{example.line + number}")
    for example in examples("sh")
    for number, line in enumerate(example.text.splitlines())
]


@pytest.mark.usefixtures("_programs_can_be_started")
@pytest.mark.parametrize("line", LINES)
def test_command_runs(site: ExampleOrg, readers_text: Prepare, commands: str, line: str) -> None:
    """Each line of the shell's examples; nothing is said on standard error."""
    if missing := {word for word in ("curl", "ssh") if f"{word} " in line and not find_program(word)}:
        pytest.skip(f"there is no {', '.join(missing)}")
    if "--type icmp" in line:
        call_inside(site.client, admit_ping)
    status, _, errors = site.run(run_line, with_programs(readers_text(line)), commands)
    assert (status, errors) == (0, "")


def admit_ping() -> None:
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 0")


@pytest.mark.usefixtures("_programs_can_be_started")
@pytest.mark.parametrize("example", examples("sh server"), ids=str)
def test_server_of_the_shell_serves_the_namespace(
    site: ExampleOrg, readers_text: Prepare, commands: str, example: Example
) -> None:
    line = with_programs(readers_text(example.text))
    port = int(re.findall(r"-l (\d+)", line)[0])
    assert serves(site, ["sh", "-ec", f"exec {line}"], commands, port, read_all) == f"this is sshd -i for {SERVER}\n"


def listen(namespace: str) -> None:
    nsbroker.Namespace(namespace).create_server(("", 80)).close()


@pytest.mark.parametrize("example", examples("json audit"), ids=str)
def test_record_of_the_audit_has_these_fields(site: ExampleOrg, example: Example) -> None:
    """As the one that a listener leaves."""
    site.run(listen)
    shown, real = json.loads(example.text), site.broker.audit()[-1]
    assert list(shown) == list(real)
    assert {"kind", "family", "cookie", "listen"} <= shown["sockets"][0].keys() <= real["sockets"][0].keys()
    assert [type(value) for value in shown.values()] == [type(value) for value in real.values()]


def test_there_are_examples() -> None:
    assert len(examples("python")) >= 20
    assert len(LINES) >= 15
