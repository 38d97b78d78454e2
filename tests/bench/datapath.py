"""The data path: a socket that came from the broker, against one that was made inside the namespace.

Both are TCP sockets of one process, connected to the same server in the namespace. They take turns.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import nsbroker
from nsbroker import SocketSpec
from place import broker_running, namespaces_made, processors
from support.inside import enter, path_of
from turns import Row, at_least, at_most, by_turns, compare
from workers import Worker

CHUNK = bytes(256 * 1024)
QUESTION = bytes(63) + b"?"


def measure(quick: bool) -> Iterator[Row]:
    """A stream of data in one direction, and questions with answers."""
    cpus = {processors()[0]}  # both ends, because the scheduler's choice would change from turn to turn
    chunks, questions = (400, 1000) if quick else (4000, 5000)
    with (
        namespaces_made(1) as (name,),
        broker_running() as broker,
        Worker(_server, name, uid=0, cpus=cpus) as server,
        Worker(_client, str(broker.socket_path), name, uid=0, cpus=cpus) as client,
    ):
        port = server("start")
        client("connect", port)
        streams = {who: _task(client, "stream", who, chunks) for who in ("ours", "native")}
        trips = {who: _task(client, "ask", who, questions) for who in ("ours", "native")}
        streamed = by_turns(3 if quick else 30, **streams)
        asked = by_turns(3 if quick else 30, **trips)
    beside = "a native socket there"
    yield compare("data path, TCP stream", "MB/s", streamed, "native", at_least(0.98), beside=beside, scale=1e-6)
    yield compare("data path, question and answer", "us", asked, "native", at_most(1.02), beside=beside, scale=1e6)


def _task(client: Worker, *order: object) -> Callable[[], float]:
    return lambda: float(client(*order))


def _server(name: str) -> Callable[[str], int]:
    """In the namespace, answer data that ends with a question, and drop all other data."""
    enter(path_of(name))
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()

    def start(_: str) -> int:
        threading.Thread(target=accept, daemon=True).start()
        return int(listener.getsockname()[1])

    return start


def _serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(len(CHUNK))
    while count := connection.recv_into(buffer):
        if buffer[count - 1] == QUESTION[-1]:
            connection.send(QUESTION)


def _client(path: str, name: str) -> Callable[..., float]:
    sockets = {"ours": nsbroker.Client(path).open([SocketSpec(name, socket.AF_INET, socket.SOCK_STREAM)])[0]}
    enter(path_of(name))
    sockets["native"] = socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    def stream(sock: socket.socket, chunks: int) -> float:
        """Bytes per second of so many chunks, the last of which is received when this returns."""
        start = time.perf_counter()
        for _ in range(chunks):
            sock.sendall(CHUNK)
        ask(sock, 1)
        return chunks * len(CHUNK) / (time.perf_counter() - start)

    def ask(sock: socket.socket, questions: int) -> float:
        """Seconds for each of so many questions and answers."""
        start = time.perf_counter()
        for _ in range(questions):
            sock.send(QUESTION)
            sock.recv(len(QUESTION))
        return (time.perf_counter() - start) / questions

    def work(order: str, who: str | int, count: int = 0) -> float:
        if order == "connect":
            for sock in sockets.values():
                sock.connect(("127.0.0.1", who))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return 0
        return {"stream": stream, "ask": ask}[order](sockets[str(who)], count)

    return work


if __name__ == "__main__":
    from turns import main

    main(measure)
