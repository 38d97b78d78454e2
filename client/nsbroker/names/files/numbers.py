"""services(5) and protocols(5): the numbers in such files of a namespace."""

from __future__ import annotations

from ...wire.record import Record

_MOST_DIGITS = 10
"""int() raises an exception for thousands of digits."""


class Entry(Record):
    """One line: a number, its names, the official one first, and the protocol of a service."""

    number: int
    names: tuple[str, ...]
    protocol: str = ""


class Services:
    """The services in a file, with the methods and errors of the socket module."""

    def __init__(self, text: str) -> None:
        self._entries = [entry for line in text.split("\n") if (entry := _service(line))]

    def port_of(self, name: str, protocol: str = "") -> int:
        """Return the port of a service.

        Raises:
            OSError: it is not in the file.
        """
        for entry in self._entries:
            if name in entry.names and protocol in ("", entry.protocol):
                return entry.number
        raise OSError("service/proto not found")

    def name_of(self, port: int, protocol: str = "") -> str:
        """Return the name of the service that has a port.

        Raises:
            OSError: it is not in the file.
        """
        for entry in self._entries:
            if port == entry.number and protocol in ("", entry.protocol):
                return entry.names[0]
        raise OSError("port/proto not found")


def protocol_number(text: str, name: str) -> int:
    """Return the number of a protocol in the text of a file.

    Raises:
        OSError: it is not in the file.
    """
    for line in text.split("\n"):
        words = line.partition("#")[0].split()
        if len(words) >= 2 and name in (words[0], *words[2:]) and (number := _number(words[1])) is not None:
            return number
    raise OSError("protocol not found")


def _service(line: str) -> Entry | None:
    words = line.partition("#")[0].split()
    if len(words) < 2:
        return None
    port, _, protocol = words[1].partition("/")
    number = _number(port)
    if number is None or not protocol:
        return None
    return Entry(number & 0xFFFF, (words[0], *words[2:]), protocol)


def _number(text: str) -> int | None:
    """Read a number. Return `None` for other text, and for more digits than any number of these files has."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else None
