"""Questions to one name server: send them, read until each has its answer, and judge the answers."""

from __future__ import annotations

import errno
import os
import socket
from struct import pack

from ...wire.record import Record
from .messages import BAD_ANSWER, NOERROR, NXDOMAIN, SERVFAIL, Answer, Question, is_answer, read_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, TypeAlias

    from ..inside import Inside
    from ..numeric import SocketAddress

    Silence: TypeAlias = Literal["absent", "servfail", "silent"]

UDP = int(socket.SOCK_DGRAM)
TCP = int(socket.SOCK_STREAM)

SILENT = "no answer in time"
_ABSENT = frozenset({errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL})
_RCODE_TEXTS = {BAD_ANSWER: "an answer that can't be read", SERVFAIL: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}


class Outcome(Record):
    """The answers that came, by record type, and the error that ended the conversation early, if there was one."""

    answers: dict[int, Answer]
    error: OSError | None


class Complaint(Record):
    """The reason why a server left a question open: in words, and in the way that glibc's search list counts it.

    `silence` is "absent" if no server is at this address, "servfail" if the server said SERVFAIL, otherwise "silent".
    """

    silence: Silence
    text: str


async def converse(
    inside: Inside,
    family: int,
    transport: int,
    address: SocketAddress,
    questions: Sequence[Question],
    timeout_s: float,
) -> Outcome:
    """Ask a server some questions at once. Packets that answer no question are ignored."""
    packets = tuple(question.packet for question in questions)
    waiting = list(questions)
    answers: dict[int, Answer] = {}
    stream = b""
    try:
        sock = await inside.send(
            family, transport, address, packets if transport == UDP else (frame(packets),), timeout_s
        )
        while waiting:
            data = await inside.receive(sock)
            if transport == UDP:
                messages = [data]
            elif data:
                messages, stream = split_stream(stream + data)
            else:
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            for message in messages:
                for question in [question for question in waiting if is_answer(question, message)]:
                    answers[question.record_type] = read_answer(question, message)
                    waiting.remove(question)
    except OSError as error:
        return Outcome(answers, error)
    return Outcome(answers, None)


def frame(packets: Sequence[bytes]) -> bytes:
    """Return messages in the form for TCP: one after the other, each with its length in front."""
    return b"".join(pack("!H", len(packet)) + packet for packet in packets)


def split_stream(stream: bytes) -> tuple[list[bytes], bytes]:
    """Return the whole messages at the beginning of a stream, and the rest of it."""
    messages: list[bytes] = []
    start = 0
    while len(stream) >= start + 2:
        end = start + 2 + int.from_bytes(stream[start : start + 2], "big")
        if len(stream) < end:
            break
        messages.append(stream[start + 2 : end])
        start = end
    return messages, stream[start:]


def judge(outcome: Outcome) -> tuple[dict[int, Answer], Complaint | None]:
    """Return the answers that count, by record type, and a complaint if others are missing or bad."""
    complaint = _complaint_of_error(outcome.error) if outcome.error else None
    good = {}
    for record_type, answer in outcome.answers.items():
        if answer.rcode in (NOERROR, NXDOMAIN) and not answer.lame:
            good[record_type] = answer
        else:
            complaint = _complaint_of_answer(answer)
    return good, complaint


def _complaint_of_answer(answer: Answer) -> Complaint:
    if answer.lame:
        return Complaint("silent", "it does not know the name's zone")
    text = _RCODE_TEXTS.get(answer.rcode, f"response code {answer.rcode}")
    return Complaint("servfail" if answer.rcode == SERVFAIL else "silent", text)


def _complaint_of_error(error: OSError) -> Complaint:
    if isinstance(error, TimeoutError):
        return Complaint("silent", SILENT)
    return Complaint("absent" if error.errno in _ABSENT else "silent", error.strerror or str(error))
