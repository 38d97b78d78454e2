"""Through how many calls and files one use of a namespace passes, in the client and in the broker.

    PYTHONPATH=tests:tests/bench python tests/bench/call_path.py [--calls]

Counts with sys.setprofile: Python functions that are called, and the files of the two packages that contain them. Each
use runs twice before it is counted, so that lazy imports and memos are warm. With --calls, every call is listed. With
-P, and another version's folders on PYTHONPATH, the script measures that version.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import nsbroker

WARM_UP = 2
FAMILY, STREAM = socket.AF_INET, socket.SOCK_STREAM
Call = tuple[str, str]
"""A file, from its package on, and a function in it."""

BROKER_PROGRAM = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent)]!r}
import call_path
call_path.record_on_signals(sys.argv.pop(1))
from nsbrokerd.__main__ import main
sys.exit(main())
"""


class Recorder:
    """Notes the calls of one thread."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def note(self, frame: FrameType, event: str, _argument: object) -> None:
        """Take one event of sys.setprofile."""
        if event == "call":
            place = frame.f_code.co_filename
            for package in ("/nsbrokerd/", "/nsbroker/"):
                if package in place:
                    self.calls.append((place[place.index(package) + 1 :], frame.f_code.co_name))
                    return

    @contextmanager
    def running(self) -> Iterator[None]:
        """Note every call from here on."""
        self.calls.clear()
        sys.setprofile(self.note)
        try:
            yield
        finally:
            sys.setprofile(None)


def record_on_signals(path: str) -> None:
    """Note this process's calls from SIGUSR1 on, and write them to `path` at SIGUSR2."""
    recorder = Recorder()

    def begin(_number: int, _frame: FrameType | None) -> None:
        recorder.calls.clear()
        sys.setprofile(recorder.note)
        Path(path).write_text("")

    def end(_number: int, _frame: FrameType | None) -> None:
        sys.setprofile(None)
        Path(path + ".new").write_text(json.dumps(recorder.calls))
        Path(path + ".new").rename(path)

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)


def files(calls: list[Call], package: str) -> list[str]:
    """Return the files of a package among these calls, in the order of their first call."""
    return list(dict.fromkeys(place for place, _ in calls if place.startswith(package + "/")))


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come true within 30 seconds.
    """
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.01)


def main() -> None:
    """Measure both uses and print a table."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n", 1)[0])
    parser.add_argument("--calls", action="store_true", help="list every call")
    arguments = parser.parse_args()
    from place import broker_running, namespaces_made

    try:
        from support.brokers.process import BrokerProcess
    except ImportError:
        from broker_process import BrokerProcess

    command = BrokerProcess.command

    def profiled(self: BrokerProcess) -> list[str]:
        start = command(self).index("serve")
        return [sys.executable, "-P", "-c", BROKER_PROGRAM, f"{self.directory}/calls", *command(self)[start:]]

    BrokerProcess.command = profiled  # type: ignore[method-assign]
    with namespaces_made(1) as (name,), broker_running() as broker:
        server, address = _server(name)
        directory = Path("/etc/netns", name)
        directory.mkdir(parents=True)
        try:
            (directory / "hosts").write_text(f"{address[0]} server.example\n")
            (directory / "resolv.conf").write_text("nameserver 127.0.0.1\n")
            namespace = nsbroker.Namespace(name, path=str(broker.socket_path))
            uses: dict[str, Callable[[], socket.socket]] = {
                'Namespace("x").socket()': lambda: namespace.socket(FAMILY, STREAM),
                "create_connection, name from the hosts file": lambda: namespace.create_connection(
                    ("server.example", address[1]), timeout=10
                ),
            }
            for title, use in uses.items():
                _report(title, use, broker.pid, broker.directory / "calls", arguments.calls)
        finally:
            for path in directory.iterdir():
                path.unlink()
            directory.rmdir()
            server.close()


def _report(title: str, use: Callable[[], socket.socket], broker: int, path: Path, with_calls: bool) -> None:
    for _ in range(WARM_UP):
        use().close()
    path.unlink(missing_ok=True)
    os.kill(broker, signal.SIGUSR1)
    until(path.exists, "the broker does not record")
    recorder = Recorder()
    with recorder.running():
        sock = use()
    time.sleep(0.2)  # the broker finishes its work after the reply
    os.kill(broker, signal.SIGUSR2)
    until(lambda: path.stat().st_size > 0, "the broker does not write its calls")
    sock.close()
    there = [(place, function) for place, function in json.loads(path.read_text())]
    print(f"{title}\n")
    for side, calls in (("client", recorder.calls), ("broker", there)):
        own, shared = files(calls, "nsbroker"), files(calls, "nsbrokerd")
        print(f"  {side}: {len(calls)} calls in {len(own) + len(shared)} files")
        for place in own + shared:
            print(f"    {place}: {sum(place == each for each, _ in calls)}")
        if with_calls:
            print(*(f"      {place} {function}" for place, function in calls), sep="\n")
    print()


def _server(name: str) -> tuple[socket.socket, tuple[str, int]]:
    """Listen in a namespace: in a thread that ends there."""
    made: list[socket.socket] = []

    def listen() -> None:
        import ctypes

        fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(fd)
        made.append(socket.create_server(("127.0.0.1", 0)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    host, port = made[0].getsockname()[:2]
    return made[0], (host, port)


if __name__ == "__main__":
    main()
