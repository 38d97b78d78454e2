"""The production case: 1,200 TCP, UDP and SCTP sockets in 50 namespaces, held and served by one event loop.

One unprivileged process with one thread has them all. A real peer in each namespace asks each of them, over
IPv6, and is answered. Beside it the program in Go that switches its own threads, as root. A third of the sockets are
SCTP where the kernel has it.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import echo_server
from echo_server import TRIPLES, Place
from goway import GoWay, ports
from place import broker_running, namespaces_made
from support.inside import enter, path_of
from support.process_state import resident_kib, thread_count
from support.users import GROUP, USER, can_start_programs
from turns import Figures, Row, at_most, by_turns, compare
from workers import Worker

SOCKETS, NAMESPACES = 1200, 50
TIMEOUT_S = 30
Counts = tuple[int, int, int]
QUESTION = b"who is there?"


def measure(quick: bool) -> Iterator[Row]:
    """Make all of them, have each answered, and look at the processes meanwhile, by turns with Go."""
    kinds = _kinds()
    share = SOCKETS // len(kinds)
    with (
        broker_running() as broker,
        namespaces_made(NAMESPACES) as names,
        Worker(lambda: ask_all, uid=0) as peers,
    ):
        places = [(kind, *place) for kind in kinds for place in ports(share, names)]
        tcp, udp, sctp = (share * (kind in kinds) for kind in TRIPLES)
        figures: dict[str, list[float]] = {}

        def ours() -> float:
            return _note(figures, "ours", _one_turn_of_ours(str(broker.socket_path), broker.pid, places, peers))

        def go() -> float:
            return _note(figures, "go", _one_turn_of_go(names, (tcp, udp, sctp), places, peers))

        by_turns(2 if quick else 10, ours=ours, go=go)
    figures = {key: values[1:] for key, values in figures.items()}
    yield from _rows(figures, " + ".join(f"{share} {kind.upper()}" for kind in kinds))


def _rows(figures: Figures, what: str) -> Iterator[Row]:
    def pair(key: str, ours: str = "ours") -> Figures:
        return {"ours": figures[f"{ours} {key}"], "go": figures[f"go {key}"]}

    title = f"{what} sockets in {NAMESPACES} namespaces"
    note = "" if can_start_programs() else "the client was root: this Python is in a place that others can't read; "
    note += "each was answered: " + ", ".join(
        f"{who} {min(figures[f'{who} answered']):.0f} of {SOCKETS:,} in the worst turn" for who in ("ours", "go")
    )
    beside = "Go, as root"
    yield compare(f"{title}: made", "ms", pair("made"), "go", beside=beside, scale=1e3, note=note)
    yield compare("... a peer's question on each, answered", "ms", pair("asked"), "go", beside=beside, scale=1e3)
    yield compare("... threads of the client", "", pair("threads"), "go", at_most(1, "ours"), beside=beside)
    yield compare("... threads of the broker", "", pair("threads", "broker"), "go", at_most(3, "ours"), beside=beside)
    yield compare("... resident memory of the client", "MB", pair("memory"), "go", beside=beside)
    yield compare("... of the client and the broker", "MB", pair("memory", "both"), "go", beside=beside)


def _note(figures: dict[str, list[float]], who: str, turn: dict[str, float]) -> float:
    for key, value in turn.items():
        figures.setdefault(key if " " in key else f"{who} {key}", []).append(value)
    return turn["made"]


def _one_turn_of_ours(path: str, broker: int, places: Sequence[Place], peers: Worker) -> dict[str, float]:
    # The program as a text: its user may not be able to read this checkout.
    program = Path(echo_server.__file__).read_text()
    user, group = (USER, GROUP) if can_start_programs() else (None, None)
    command = [sys.executable, "-P", "-c", program, path]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, user=user, group=group, cwd="/") as server:
        made, asked, answered = _exchange(server, places, peers)
        client_kib, broker_kib = resident_kib(server.pid), resident_kib(broker)
        turn = {"made": made, "asked": asked, "answered": answered, "threads": thread_count(server.pid)}
        turn |= {"memory": client_kib / 1024, "both memory": (client_kib + broker_kib) / 1024}
        return turn | {"broker threads": thread_count(broker)}


def _exchange(server: subprocess.Popen[str], places: Sequence[Place], peers: Worker) -> tuple[float, float, int]:
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(places) + "\n")
    server.stdin.flush()
    made = float(server.stdout.readline())
    return (made, *peers(places))


def _one_turn_of_go(names: Sequence[str], counts: Counts, places: Sequence[Place], peers: Worker) -> dict[str, float]:
    with GoWay(names) as go:
        made = go.open(*counts)
        go.serve()
        asked, answered = peers(places)
        return {"made": made, "asked": asked, "answered": answered, "threads": go.threads, "memory": go.resident_mb}


def ask_all(places: Sequence[Place]) -> tuple[float, int]:
    """Ask at each place, from inside its namespace, and return the seconds and the number of answers."""
    start, answered, here = time.perf_counter(), 0, ""
    for kind, name, port in sorted(places, key=lambda place: place[1]):
        if name != here:
            enter(path_of(name))
            here = name
        kind_number, protocol = TRIPLES[kind]
        with socket.socket(socket.AF_INET6, kind_number, protocol) as sock:
            sock.settimeout(TIMEOUT_S)
            sock.connect(("::1", port))
            sock.send(QUESTION)
            answered += sock.recv(len(QUESTION)) == QUESTION
    return time.perf_counter() - start, answered


def _kinds() -> list[str]:
    """The kinds that this kernel has."""
    return [kind for kind, triple in TRIPLES.items() if _has(*triple)]


def _has(kind: int, protocol: int) -> bool:
    try:
        socket.socket(socket.AF_INET6, kind, protocol).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    from turns import main

    main(measure)
