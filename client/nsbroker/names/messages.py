"""Questions and answers as values, and the numbers that they are told apart by."""

from __future__ import annotations

from ..wire.record import Record

A = 1
PTR = 12
AAAA = 28

NOERROR = 0
FORMERR = 1
SERVFAIL = 2
NXDOMAIN = 3
BAD_ANSWER = -1
"""In place of a response code: what came can't be read."""


class Question(Record):
    """One question: a name without its final dot, a record type, and the packet that asks."""

    name: str
    kind: int
    id: int
    packet: bytes


class Answer(Record):
    """What a server said to one question.

    `records` are addresses or names as text; `canonical` is the name they belong to, at the end of all aliases.
    `any_records` tells of an answer section that has something, be it aliases alone. `lame` is an empty answer of a
    server that does not know, and says so only by what it leaves out.
    """

    kind: int
    rcode: int
    truncated: bool = False
    lame: bool = False
    any_records: bool = False
    canonical: str = ""
    records: tuple[str, ...] = ()
