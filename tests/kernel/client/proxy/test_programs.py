"""Programs that take a proxy reach servers of the namespace: curl by both protocols, and gRPC."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys

import pytest

from support.names.dnsmasq import ADDRESS, ADDRESS6
from support.proxied import CLOSED_PORT, HOST, HOST4, HOST6, UNKNOWN, Inside, Proxied, Server, curl

WAYS = {
    "socks5": ["--socks5-hostname", "{proxy}"],
    "http": ["-x", "http://{proxy}"],
    "connect": ["--proxytunnel", "-x", "http://{proxy}"],
}
PROXIES = ("127.0.0.1:0", "[::1]:0")


@pytest.fixture(scope="module", params=PROXIES, ids=["ipv4", "ipv6"])
def proxy(request: pytest.FixtureRequest, place: Inside) -> Proxied:
    return place.start("-l", request.param)


def by(way: str, proxy: Proxied) -> list[str]:
    return [word.format(proxy=proxy.address) for word in WAYS[way]]


@pytest.mark.parametrize("host", [HOST, HOST4, HOST6, ADDRESS, f"[{ADDRESS6}]"])
@pytest.mark.parametrize("way", WAYS)
def test_curl_reaches_a_server_by_name_and_address(proxy: Proxied, web_server: Server, way: str, host: str) -> None:
    """Names are looked up in the namespace: outside of it, nobody knows them."""
    done = curl(*by(way, proxy), f"http://{host}:{web_server.port}/page?x=1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "GET /page?x=1 HTTP/1.1"
    assert f"Host: {host}:{web_server.port}" in lines
    assert not [line for line in lines if line.lower().startswith("proxy-")]


@pytest.mark.parametrize("address", [ADDRESS, f"[{ADDRESS6}]"])
def test_curl_that_looks_names_up_itself_sends_an_address(proxy: Proxied, web_server: Server, address: str) -> None:
    done = curl("--socks5", proxy.address, f"http://{address}:{web_server.port}/")
    assert (done.returncode, done.stderr) == (0, "")


def test_curl_reaches_it_over_a_unix_socket(
    place: Inside, web_server: Server, open_directory: os.PathLike[str]
) -> None:
    path = f"{open_directory}/proxy"
    proxy = place.start("-l", path)
    # The same request as to a proxy: curl has no option for one at a path.
    done = curl("--unix-socket", path, "--request-target", f"http://{HOST}:{web_server.port}/x", "http://ignored/")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "GET /x HTTP/1.1")
    proxy.running.send(signal.SIGTERM)
    assert proxy.running.finish().status == 0


@pytest.mark.parametrize("way", WAYS)
def test_body_of_a_request_arrives(proxy: Proxied, way: str, place: Inside) -> None:
    """In chunks, and with a length. curl waits for the server's 100 Continue."""
    counts: list[int] = []

    def count(sock: object) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(2**16)  # type: ignore[attr-defined]
        head, _, body = data.partition(b"\r\n\r\n")
        if b"Expect: 100-continue" in head:
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")  # type: ignore[attr-defined]
        is_chunked = b"chunked" in head
        while not body.endswith(b"0\r\n\r\n") if is_chunked else len(body) < 2**21:
            body += sock.recv(2**16)  # type: ignore[attr-defined]
        counts.append(body.count(b"x"))
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")  # type: ignore[attr-defined]

    server = Server(place.name, count)
    try:
        with subprocess.Popen(["printf", f"%0{2**21}d", "0"], stdout=subprocess.PIPE) as zeros:
            assert zeros.stdout is not None
            data = zeros.stdout.read().replace(b"0", b"x")
        for field in ("Transfer-Encoding: chunked", "Expect: 100-continue"):
            done = subprocess.run(
                ["curl", "-q", "-sS", *by(way, proxy), "-H", field, "--data-binary", "@-",
                 f"http://{HOST4}:{server.port}/"],
                input=data, env={"PATH": os.environ["PATH"]}, capture_output=True, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stdout, done.stderr) == (0, b"ok", b"")
        assert counts == [2**21, 2**21]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("way", "host", "port", "statuses", "says"),
    [
        ("socks5", UNKNOWN, 80, (97,), "(4)"),
        ("socks5", HOST4, CLOSED_PORT, (97,), "(5)"),
        ("connect", UNKNOWN, 80, (56, 7), "502"),
        ("connect", HOST4, CLOSED_PORT, (56, 7), "502"),
        ("http", UNKNOWN, 80, (0,), f"can't connect to {UNKNOWN} port 80: Name or service not known"),
        (
            "http",
            HOST4,
            CLOSED_PORT,
            (0,),
            f"can't connect to {HOST4} port 1: Connection refused: no server listens there",
        ),
    ],
)
def test_curl_is_told_why_there_is_no_connection(
    proxy: Proxied, way: str, host: str, port: int, statuses: tuple[int, ...], says: str
) -> None:
    """The status of a refused CONNECT depends on the version of curl: 56 in 7.88, 7 in 8.23."""
    done = curl(*by(way, proxy), f"http://{host}:{port}/")
    assert done.returncode in statuses
    assert says in done.stdout + done.stderr


GRPC_SERVER = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
answer = grpc.unary_unary_rpc_method_handler(lambda request, context: request[::-1])
server = grpc.server(ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Reverse": answer}),))
print(server.add_insecure_port("0.0.0.0:0"), flush=True)
server.start()
sys.stdin.read()
"""
GRPC_CLIENT = """
import sys
import grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    print(channel.unary_unary("/test.Echo/Reverse")(b"abc", timeout=60).decode())
"""


def test_grpc_reaches_a_server_by_its_name(proxy: Proxied, place: Inside) -> None:
    """By http_proxy, which gRPC takes for CONNECT."""
    if importlib.util.find_spec("grpc") is None:  # to import it here would put it before the tests of the loop's guard
        pytest.skip("grpc is not installed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "no_grpc_proxy": ""}
    python = [sys.executable, "-P", "-W", "ignore", "-c"]
    command = ["ip", "netns", "exec", place.name, *python, GRPC_SERVER]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        environment |= {"http_proxy": f"http://{proxy.address}", "no_proxy": ""}
        done = subprocess.run(
            [*python, GRPC_CLIENT, f"{HOST4}:{port}"], env=environment, capture_output=True, text=True, check=False
        )
        server.communicate()
    assert (done.returncode, done.stdout) == (0, "cba\n"), done.stderr


def test_connections_come_from_the_namespace(proxy: Proxied, web_server: Server) -> None:
    """The server sees an address of the namespace, which the caller of curl does not have."""
    web_server.peers.clear()
    assert curl(*by("socks5", proxy), f"http://{HOST4}:{web_server.port}/").returncode == 0
    assert web_server.peers == [f"::ffff:{ADDRESS}"]
