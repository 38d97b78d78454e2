"""Namespaces that come and go: was a socket in the one that had its name at that time?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Generation(NamedTuple):
    """One namespace, by its cookie, and from when to when its name could be found."""

    cookie: int
    begin: float
    end: float = float("inf")

    def until(self, end: float) -> Generation:
        return self._replace(end=end)


class Sights:
    """When sockets of a namespace that comes and goes were seen, for each name and cookie.

    A socket had at one time, and asked for at another, is right if the namespace existed in between. So of many, the
    earliest end and the latest begin are enough.
    """

    def __init__(self) -> None:
        self.seen: dict[tuple[str, int], tuple[float, float]] = {}

    def add(self, name: str, cookie: int, asked: float, had: float) -> None:
        latest_asked, earliest_had = self.seen.get((name, cookie), (asked, had))
        self.seen[name, cookie] = max(latest_asked, asked), min(earliest_had, had)

    def move_to(self, file: Path) -> None:
        """Append them to a file, and forget them: there is no end of namespaces in an hour."""
        with file.open("a") as lines:
            for (name, cookie), (asked, had) in self.seen.items():
                lines.write(f"{name} {cookie} {asked!r} {had!r}\n")
        self.seen.clear()

    def take_from(self, file: Path) -> None:
        """Add the sights that were moved to a file."""
        with file.open() as lines:
            for name, cookie, asked, had in map(str.split, lines):
                self.add(name, int(cookie), float(asked), float(had))

    def wrong(self, known: Mapping[str, Sequence[Generation]]) -> Iterator[str]:
        """Compare with the namespaces that existed, and return the impossible sights."""
        generations = {(name, one.cookie): one for name, ones in known.items() for one in ones}
        for (name, cookie), (latest_asked, earliest_had) in self.seen.items():
            one = generations.get((name, cookie))
            if one is None or not (one.begin <= earliest_had and latest_asked <= one.end):
                yield f"a socket of {name} was in the namespace {cookie}, which did not have this name then"
