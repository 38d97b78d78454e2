"""A user's own containers under real rootless podman: found by name, and names looked up in them."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

import nsbroker
import nsbroker.adapters.aiohttp
import nsbroker.adapters.asyncio
import nsbroker.adapters.httpx
from support.brokers.process import BrokerProcess
from support.documents import examples
from support.rootless import Rootless, rootless_podman
from support.tool.running import run_tool
from support.users import GROUP, USER, as_user, can_start_programs, start_as_user
from support.waiting import wait_until

OWN = f"""
[[grant]]
name = "own"
users = [{USER}]
namespaces = ["@own"]
sockets = ["tcp", "udp", "netlink:route"]
"""

_SO_NETNS_COOKIE = 71


@pytest.fixture(scope="module")
def podman() -> Iterator[Rootless]:
    with rootless_podman() as podman:
        yield podman


@pytest.fixture
def broker(start_broker: Callable[[str], BrokerProcess]) -> BrokerProcess:
    return start_broker(OWN)


@pytest.fixture(scope="module")
def alone(podman: Rootless) -> str:
    """A container whose only interface is its loopback."""
    podman.run("alone", "--network", "none")
    return "alone"


@pytest.fixture(scope="module")
def mine(podman: Rootless) -> str:
    """A container of a bridge, where `db` is another one."""
    podman("network", "create", "--subnet", "10.213.77.0/24", "mynet")
    podman.run("db", "--network", "mynet")
    podman.run("mine", "--network", "mynet")
    return "mine"


@pytest.fixture(params=["command", "service"])
def asked(podman: Rootless, request: pytest.FixtureRequest) -> Iterator[str]:
    """Both ways in which the client asks podman."""
    if request.param == "service":
        podman.serve()
    yield request.param
    podman.stop_service()


def as_owner(podman: Rootless, broker: BrokerProcess, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function as the containers' user, in the environment of a login."""

    def call() -> Any:
        os.environ.update(podman.environment, NSBROKER_SOCKET=str(broker.socket_path))
        os.chdir("/")
        return function(*args)

    return as_user(USER, GROUP, call)


def fetch(name: str, host: str = "127.0.0.1") -> tuple[str, int]:
    """Return the page of a web server, and the cookie of the namespace from which it was asked."""
    found: list[socket.socket] = []
    # The server of a container that has just started may not listen yet.
    wait_until(lambda: connects(name, host, found))
    with found[0] as sock:
        sock.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
        with sock.makefile("rb") as stream:
            page = stream.read().partition(b"\r\n\r\n")[2].decode().strip()
        return page, cookie_of(sock)


def connects(name: str, host: str, found: list[socket.socket]) -> bool:
    try:
        found.append(nsbroker.Namespace(f"podman:{name}", timeout=30).create_connection((host, 80), timeout=30))
    except ConnectionRefusedError:
        return False
    return True


def cookie_of(sock: socket.socket) -> int:
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)


def refusal(name: str) -> str:
    with pytest.raises(nsbroker.Error) as caught:
        nsbroker.Namespace(f"podman:{name}", timeout=30).socket()
    return str(caught.value.strerror)


@pytest.mark.usefixtures("asked")
def test_container_is_reached_by_its_name(podman: Rootless, broker: BrokerProcess, alone: str) -> None:
    assert as_owner(podman, broker, fetch, alone)[0] == alone


@pytest.mark.usefixtures("asked")
def test_container_is_refused_without_a_grant(
    podman: Rootless, start_broker: Callable[[str], BrokerProcess], alone: str
) -> None:
    broker = start_broker(OWN.replace('"@own"', '"blue"'))
    text = as_owner(podman, broker, refusal, alone)
    assert f"no grant of uid {USER} covers namespace 'podman:alone'; your own podman has such a container" in text
    assert text.endswith('ask the administrator for a grant with namespaces = ["@own"]')


@pytest.mark.usefixtures("asked", "alone")
def test_other_names_are_refused(podman: Rootless, broker: BrokerProcess) -> None:
    """Podman itself takes an id, and the beginning of one, for a name."""
    full_id = podman.inspect("alone")["Id"]
    for name in (full_id, full_id[:12]):
        text = as_owner(podman, broker, refusal, name)
        assert f"your own podman says: there is no container '{name}': this is an id of 'alone'" in text
    text = as_owner(podman, broker, refusal, "nowhere")
    assert text.endswith("; your own podman says: there is no container 'nowhere'")


@pytest.mark.usefixtures("asked")
def test_host_network_is_refused(podman: Rootless, broker: BrokerProcess) -> None:
    podman("run", "--detach", "--name", "hosted", "--network", "host", "--rootfs", str(podman.rootfs), "sleep", "1000")
    text = as_owner(podman, broker, refusal, "hosted")
    assert text.endswith("your own podman says: its network is the one of this program (--network host)")
    podman("rm", "--force", "--time=0", "hosted")


@pytest.mark.usefixtures("asked")
def test_stopped_and_restarted_container(podman: Rootless, broker: BrokerProcess) -> None:
    """After a restart, sockets are in the new namespace. In between there is none."""
    podman.run("again", "--network", "none")
    first = as_owner(podman, broker, fetch, "again")
    podman("stop", "--time=0", "again")
    stopped = as_owner(podman, broker, refusal, "again")
    podman("start", "again")
    second = as_owner(podman, broker, fetch, "again")
    podman("rm", "--force", "--time=0", "again")
    assert first[0] == second[0] == "again"
    assert first[1] != second[1]
    assert "your own podman says: the container 'again' does not run, so start it" in stopped


def test_user_inside_makes_no_difference(podman: Rootless, broker: BrokerProcess) -> None:
    podman("run", "--detach", "--name", "other", "--user", "1000", "--network", "none",
           "--rootfs", str(podman.rootfs), "sleep", "1000")  # fmt: skip
    assert as_owner(podman, broker, opens, "other")
    podman("rm", "--force", "--time=0", "other")


def cookie(reference: str) -> int:
    with nsbroker.Namespace(reference, timeout=30).socket() as sock:
        return cookie_of(sock)


def collect(name: str, stop: str) -> set[int]:
    """Open sockets until there is a file, and then a last one. Return the cookies of their namespaces."""
    found: set[int] = set()
    client = nsbroker.Client(timeout=30)
    while not os.path.exists(stop):
        try:
            [sock] = client.open([nsbroker.SocketSpec(name, socket.AF_INET, socket.SOCK_STREAM)])
        except nsbroker.NamespaceNotFoundError:
            continue
        with sock:
            found.add(cookie_of(sock))
    return {*found, cookie(name)}


def test_sockets_beside_restarts_are_of_the_container_at_their_moment(
    podman: Rootless, broker: BrokerProcess, open_directory: Path, *, long: bool
) -> None:
    """After a restart was reported, none is of the container before it."""
    podman.serve()
    podman.run("restless", "--network", "none")
    stop = open_directory / "stop"
    known: list[int] = []

    def collect_as_owner() -> set[int]:
        os.environ.update(podman.environment, NSBROKER_SOCKET=str(broker.socket_path))
        return collect("podman:restless", str(stop))

    def look(reference: str) -> int:
        return int(as_owner(podman, broker, cookie, reference))

    known.append(look("podman:restless"))
    collector = start_as_user(USER, GROUP, collect_as_owner)
    try:
        for _ in range(100 if long else 8):
            podman("restart", "--time=0", "restless")
            by_name = look("podman:restless")
            assert by_name not in known
            assert by_name == look(f"/proc/{podman.inspect('restless')['State']['Pid']}/ns/net")
            known.append(by_name)
    finally:
        stop.touch()
        found = collector.result()
        podman("rm", "--force", "--time=0", "restless")
        podman.stop_service()
    assert found <= set(known)
    assert known[-1] in found


def test_members_of_a_network_are_found_by_their_own_process(
    podman: Rootless, broker: BrokerProcess, alone: str
) -> None:
    """With `--network container:X`, a container stays in the namespace in which it started."""
    podman("run", "--detach", "--name", "member", "--network", f"container:{alone}",
           "--rootfs", str(podman.rootfs), "sleep", "1000")  # fmt: skip
    assert as_owner(podman, broker, fetch, "member") == as_owner(podman, broker, fetch, alone)
    podman("rm", "--force", "--time=0", "member")


def files_of(name: str) -> tuple[str, str]:
    files = nsbroker.Client(timeout=30).resolver_files(f"podman:{name}")
    return files.resolv_conf, files.hosts


def test_files_that_podman_did_not_make_are_unknown(podman: Rootless, broker: BrokerProcess) -> None:
    own = podman.home / "own.conf"
    own.write_text("nameserver 10.1.1.1\n")
    podman("run", "--detach", "--name", "odd", "--network", "none", "--no-hosts", "-v", f"{own}:/etc/resolv.conf",
           "--rootfs", str(podman.rootfs), "sleep", "1000")  # fmt: skip
    assert as_owner(podman, broker, files_of, "odd") == ("", "")
    podman("rm", "--force", "--time=0", "odd")


def test_network_of_slirp4netns_is_reached(podman: Rootless, broker: BrokerProcess) -> None:
    podman.run("slirp", "--network", "slirp4netns")
    assert as_owner(podman, broker, fetch, "slirp")[0] == "slirp"
    assert "nameserver 10.0.2.3" in as_owner(podman, broker, files_of, "slirp")[0]
    podman("rm", "--force", "--time=0", "slirp")


def opens(name: str) -> bool:
    nsbroker.Namespace(f"podman:{name}", timeout=30).socket().close()
    return True


def resolve(host: str) -> str:
    namespace = nsbroker.Namespace("podman:mine", timeout=30)
    return str(namespace.getaddrinfo(host, 80, type=socket.SOCK_STREAM)[0][4][0])


def by_httpx() -> str:
    with httpx.Client(
        transport=nsbroker.adapters.httpx.HTTPTransport(nsbroker.Namespace("podman:mine", timeout=30))
    ) as web:
        return web.get("http://db/index.html", timeout=30).text.strip()


def by_aiohttp() -> str:
    async def get() -> str:
        namespace = nsbroker.Namespace("podman:mine", timeout=30)
        connector = nsbroker.adapters.aiohttp.TCPConnector(namespace)
        async with aiohttp.ClientSession(connector=connector) as web, web.get("http://db/index.html") as answer:
            return (await answer.text()).strip()

    return asyncio.run(get())


_PATCHED = """
import nsbroker
nsbroker.patch("podman:mine")
import urllib.request
print(urllib.request.urlopen("http://db/index.html", timeout=30).read().decode().strip())
"""


def by_patch() -> str:
    """In an interpreter of its own, where nothing is imported yet."""
    done = subprocess.run([sys.executable, "-I", "-c", _PATCHED], capture_output=True, check=False, text=True)
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.usefixtures("mine")
class TestNames:
    """Names of the container's own network, by aardvark-dns over sockets of the container's namespace."""

    def test_library_finds_another_container(self, podman: Rootless, broker: BrokerProcess) -> None:
        address = podman.inspect("db")["NetworkSettings"]["Networks"]["mynet"]["IPAddress"]
        assert as_owner(podman, broker, resolve, "db") == address
        assert as_owner(podman, broker, fetch, "mine", "db")[0] == "db"

    @pytest.mark.parametrize("fetch_page", [by_httpx, by_aiohttp, by_patch])
    def test_adapters_and_patch_find_it(
        self, podman: Rootless, broker: BrokerProcess, fetch_page: Callable[[], str]
    ) -> None:
        if fetch_page is by_patch and not can_start_programs():
            pytest.skip("other users can't run this Python")
        assert as_owner(podman, broker, fetch_page) == "db"

    @pytest.mark.parametrize(
        ("args", "shown"),
        [
            (("resolve", "db"), "10.213.77."),
            (("run", "--", "getent", "hosts", "db"), "10.213.77."),
            (("run", "--", "curl", "-sS", "http://db/index.html"), "db\n"),
            (("run", "--", "cat", "/etc/hosts"), "mine"),
        ],
    )
    def test_tool_and_programs_under_it_find_it(
        self, podman: Rootless, broker: BrokerProcess, args: tuple[str, ...], shown: str
    ) -> None:
        with run_tool(broker) as tool:
            running = tool.start(
                "--timeout", "30", "podman:mine", *args, before=lambda: os.environ.update(podman.environment)
            )
            done = running.finish()
        assert (done.status, done.err) == (0, "")
        assert shown in done.out


@pytest.mark.usefixtures("mine")
def test_examples_of_the_document_run(podman: Rootless, broker: BrokerProcess, open_directory: Path) -> None:
    """Another directory has nsbroker-get. The image is a plain directory, with a server."""
    if not can_start_programs():
        pytest.skip("other users can't run this Python")
    tool = open_directory / "nsbroker-get"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -I -m nsbroker.cli --timeout 30 "$@"\n')
    tool.chmod(0o755)
    serve = f"--tmpfs /www --rootfs {podman.rootfs} sh -c 'echo web > /www/index.html; exec httpd -f -p 80 -h /www'"
    text = "".join(f"{example.text}\n" for example in examples("sh rootless")).replace("IMAGE", serve)
    environment = podman.environment | {
        "PATH": f"{open_directory}:{podman.environment['PATH']}", "NSBROKER_SOCKET": str(broker.socket_path),
    }  # fmt: skip
    command = [*podman.command()[:-1], "bash", "-euxc", text]
    done = subprocess.run(
        command, env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    id_of_container, own_page, page_of_db, address, by_path = done.stdout.split()
    assert id_of_container == podman.inspect("web")["Id"]
    assert (own_page, page_of_db, by_path) == ("web", "db", "web")
    assert address.startswith("10.213.77.")
