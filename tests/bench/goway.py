"""The reference program in Go, as something that takes orders: see reference/goway.go."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Self

from place import go_program
from support.process_state import resident_kib, thread_count

FIRST_PORT = 10000


class GoWay:
    """A privileged program that makes sockets in these namespaces by switching its own threads."""

    def __init__(self, names: Sequence[str]) -> None:
        """Compile it where needed, and start it.

        Raises:
            Skipped: it can't be compiled here.
        """
        command = [go_program("goway"), *names]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def open(self, tcp: int, udp: int = 0, sctp: int = 0, how: str = "goroutines") -> float:
        """Make so many sockets of each kind, and return the seconds.

        `how` is one of the program's ways: "goroutines", "each", "once".
        """
        return self._order(f"{how} {tcp} {udp} {sctp}")

    def serve(self) -> None:
        """Answer on all of them."""
        self._order("serve")

    def close_sockets(self) -> None:
        self._order("close")

    def open_and_close(self, tcp: int, how: str) -> float:
        """Make so many listeners, close them, and return the seconds of making them."""
        seconds = self.open(tcp, how=how)
        self.close_sockets()
        return seconds

    @property
    def threads(self) -> int:
        return thread_count(self._process.pid)

    @property
    def resident_mb(self) -> float:
        return resident_kib(self._process.pid) / 1024

    def _order(self, order: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def ports(total: int, names: Sequence[str]) -> list[tuple[str, int]]:
    """Where so many sockets are: the same for both ways."""
    return [
        (name, FIRST_PORT + j)
        for i, name in enumerate(names)
        for j in range((total + len(names) - 1 - i) // len(names))
    ]
