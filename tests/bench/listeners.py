"""1,200 TCP listeners in 50 and in 300 namespaces: by the broker without privileges, and by Go as root.

The client is one unprivileged process with one thread, and uses `create_servers`. The Go program switches its
own threads. Both make the same listeners (IPv6, all addresses, a backlog) and close them after each turn, untimed.

The known way is a goroutine for each listener, locked to a thread that enters the namespace and leaves it. A simple
program does the same without goroutines, one listener after the other. Both have goals. It is faster still to sort them
by namespace first, and to enter each once: this shows what a privileged program saves that need not ask a broker. The
last row is the oldest way: a process of `ip netns exec` for each listener.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import nsbroker
from goway import GoWay, ports
from place import broker_running, namespaces_made
from turns import Row, Skipped, at_most, by_turns, compare
from workers import Worker

LISTENERS = 1200
NAMESPACES = (50, 300)
HOW = {
    "goroutines": "Go, as root, a goroutine for each",
    "each": "Go, as root, one after the other",
    "once": "Go, as root, sorted by namespace",
}
GOALS = {"goroutines": at_most(1.3), "each": at_most(1)}


def measure(quick: bool) -> Iterator[Row]:
    """All listeners at once, for each number of namespaces."""
    with broker_running() as broker, namespaces_made(max(NAMESPACES)) as names:
        for count in NAMESPACES:
            here = names[:count]
            with GoWay(here) as go, Worker(_listen_all, str(broker.socket_path), here) as ours:
                figures = by_turns(
                    3 if quick else 25,
                    ours=lambda: float(ours()),
                    **{how: partial(go.open_and_close, LISTENERS, how) for how in HOW},
                )
                note = f"Go had {go.threads} threads, the client one"
            title = f"{LISTENERS:,} listeners in {count} namespaces"
            for how, beside in HOW.items():
                goal = GOALS.get(how) if count == NAMESPACES[0] else None
                yield compare(title, "ms", figures, how, goal, beside=beside, scale=1e3, note=note)
                note = ""
        yield _against_ip(str(broker.socket_path), names[: NAMESPACES[0]], 3 if quick else 15)


def _against_ip(path: str, names: Sequence[str], rounds: int) -> Row:
    with Worker(_listen_all, path, names) as ours:
        figures = by_turns(
            rounds, ours=lambda: float(ours()) / LISTENERS, ip=lambda: sum(map(_ip_netns_exec, names[:5])) / 5
        )
    beside = "`ip netns exec NS true`, as root"
    return compare("one of these listeners", "ms", figures, "ip", beside=beside, scale=1e3)


def _ip_netns_exec(name: str) -> float:
    start = time.perf_counter()
    if subprocess.run(["ip", "netns", "exec", name, "true"], check=False).returncode:
        raise Skipped("`ip netns exec` does not work here")
    return time.perf_counter() - start


def _listen_all(path: str, names: Sequence[str]) -> Callable[[], float]:
    client = nsbroker.Client(path)
    listeners = [(name, ("::", port)) for name, port in ports(LISTENERS, names)]

    def listen() -> float:
        start = time.perf_counter()
        sockets = nsbroker.create_servers(listeners, client=client)
        seconds = time.perf_counter() - start
        assert len(sockets) == LISTENERS
        for sock in sockets:
            sock.close()
        return seconds

    return listen


if __name__ == "__main__":
    from turns import main

    main(measure)
