"""The cost of an httpx request through the adapter, against the same request by plain httpx inside the namespace.

    PYTHONPATH=tests python tests/bench/httpx_adapter.py          (as root; needs ip and nginx)

Both clients are processes of their own, which ask nginx in the namespace by turns: 50 requests of the one, then 50 of
the other. The adapter's client is a user without any rights, outside of the namespace.

Where they run decides: to wake a process on another, idle processor of a virtual machine takes longer than a request
to the broker. So the clients and the broker share the first processor, and nginx has the last one, for both clients
alike: neither is helped by the other's server, and what the adapter adds is the work that it and the broker do. It is
the same in all rows; plain http on loopback is the smallest request that there can be to compare it with. A third
client is the adapter with a stock of 16 sockets.
"""

from __future__ import annotations

import json
import operator
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import trustme

from nsbroker import Namespace
from nsbroker.adapters.httpx import HTTPTransport
from support import namespaces
from support.brokers.process import BrokerProcess
from support.inside import enter, path_of
from support.users import GROUP, USER, start_as_user

ROUNDS, REQUESTS = 30, 50
OURS, SERVERS = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
"""The processor of clients and broker, and that of nginx."""

NGINX = """
daemon off; pid {0}/pid; error_log stderr; events {{}}
http {{ access_log off; ssl_certificate {0}/pem; ssl_certificate_key {0}/pem; server {{ listen 80; listen 443 ssl; }} }}
"""
Ask = Callable[[], object]


@contextmanager
def fresh_connections(transport: Callable[[], httpx.HTTPTransport], url: str) -> Iterator[Ask]:
    """A client that connects for each request."""
    with httpx.Client(transport=transport(), headers={"Connection": "close"}) as client:
        yield lambda: client.get(url)


@contextmanager
def kept_connection(transport: Callable[[], httpx.HTTPTransport], url: str) -> Iterator[Ask]:
    """A client with an open connection."""
    with httpx.Client(transport=transport()) as client:
        client.get(url)
        yield lambda: client.get(url)


def trusting(authority: str) -> ssl.SSLContext:
    """Make the context of TLS once, as a program with many requests does."""
    return ssl.create_default_context(cafile=authority)


def work(pipe: Connection, transport: Callable[[], httpx.HTTPTransport]) -> None:
    """Answer each (kind, url) with the seconds of each of some requests."""
    os.sched_setaffinity(0, {OURS})
    while (order := pipe.recv()) is not None:
        make, url = order
        with make(transport, url) as ask:
            times = []
            for _ in range(REQUESTS):
                start = time.perf_counter()
                ask()
                times.append(time.perf_counter() - start)
        pipe.send(times)


def work_inside(pipe: Connection, name: str, authority: str) -> None:
    """Plain httpx, as root in the namespace."""
    enter(path_of(name))
    context = trusting(authority)
    work(pipe, lambda: httpx.HTTPTransport(verify=context))


def work_outside(pipe: Connection, name: str, authority: str, path: str, stock: int) -> None:
    """The adapter, without rights."""
    namespace, context = Namespace(name, path=path, stock=stock), trusting(authority)
    work(pipe, lambda: HTTPTransport(namespace, verify=context))


def compare(pipes: dict[str, Connection], make: object, url: str) -> dict[str, Any]:
    """Let all ask in turns, and return the medians in microseconds, our addition to them, and the ratios."""
    medians: dict[str, list[float]] = {who: [] for who in pipes}
    means: dict[str, list[float]] = {who: [] for who in pipes}
    for _ in range(ROUNDS):
        for who, pipe in pipes.items():
            pipe.send((make, url))
            times = pipe.recv()
            medians[who].append(statistics.median(times))
            means[who].append(statistics.fmean(sorted(times)[:-1]))
    row: dict[str, Any] = {who: round(1e6 * statistics.median(times)) for who, times in medians.items()}
    for who in ("adapter", "with stock"):
        ratios = [ours / plain for ours, plain in zip(medians[who], medians["plain"], strict=True)]
        quartiles = statistics.quantiles(ratios, n=4)
        row[f"{who}, compared"] = {
            "added": round(1e6 * statistics.median(map(operator.sub, medians[who], medians["plain"]))),
            "ratio": round(statistics.median(ratios), 3),
            "quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
            # With a stock, one request in 16 gets the sockets of all. The slowest of 50 is that of another program.
            "ratio of means": round(statistics.median(map(operator.truediv, means[who], means["plain"])), 3),
        }
    return row


def main() -> None:
    """Measure, and print a line of JSON for each row."""
    name = f"{namespaces.PREFIX}bench"
    directory = Path(tempfile.mkdtemp(prefix="nsbroker-bench-"))
    directory.chmod(0o755)
    grant = f'[[grant]]\nname = "bench"\nusers = ["*"]\nnamespaces = ["{name}"]\nsockets = ["tcp", "udp"]\n'
    namespaces.make(name)
    broker = BrokerProcess(grant)
    broker.start()
    os.sched_setaffinity(broker.pid, {OURS})
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "authority")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(directory / "pem")
    (directory / "nginx.conf").write_text(NGINX.format(directory))
    command = ["ip", "netns", "exec", name, "nginx", "-p", str(directory), "-c", f"{directory}/nginx.conf"]
    server = subprocess.Popen(["taskset", "-c", str(SERVERS), *command], stderr=subprocess.DEVNULL)
    try:
        path = str(broker.socket_path)
        wait_for_server(name, path)
        ends = {who: Pipe() for who in ("plain", "adapter", "with stock")}
        children = [
            start_as_user(0, 0, work_inside, ends["plain"][1], name, f"{directory}/authority"),
            start_as_user(USER, GROUP, work_outside, ends["adapter"][1], name, f"{directory}/authority", path, 0),
            start_as_user(USER, GROUP, work_outside, ends["with stock"][1], name, f"{directory}/authority", path, 16),
        ]
        pipes = {who: near for who, (near, _) in ends.items()}
        print(json.dumps({"python": sys.version.split()[0], "httpx": httpx.__version__, "rounds": ROUNDS}))
        for title, make in (("connection set-up included", fresh_connections), ("kept-alive", kept_connection)):
            for scheme in ("https", "http"):
                print(json.dumps({"row": f"{scheme}, {title}"} | compare(pipes, make, f"{scheme}://127.0.0.1/")))
        for pipe in pipes.values():
            pipe.send(None)
        for child in children:
            child.result()
    finally:
        server.terminate()
        server.wait()
        broker.close()
        namespaces.delete(name)
        shutil.rmtree(directory)


def wait_for_server(name: str, path: str) -> None:
    """Wait until nginx listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            Namespace(name, path=path).create_connection(("127.0.0.1", 80)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    main()
