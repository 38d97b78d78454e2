"""One conversation with one name server: ask, and read until each question has its answer or nothing more comes."""

from __future__ import annotations

import errno
import os
import socket
from struct import pack

from ..wire.record import Record
from .actions import Ask, Read
from .messages import Answer, Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .actions import SocketAddress, Steps

UDP = int(socket.SOCK_DGRAM)
TCP = int(socket.SOCK_STREAM)
DNS_PORT = 53


class Outcome(Record):
    """The answers that came, by record type, and the error that ended the conversation early, if one did."""

    answers: dict[int, Answer]
    error: OSError | None


def converse(
    family: int, transport: int, address: SocketAddress, questions: Sequence[Question], timeout_s: float
) -> Steps[Outcome]:
    """Ask a server some questions at once. What answers none of them is passed over, and the wait goes on."""
    from .codec import is_answer, read_answer

    packets = tuple(question.packet for question in questions)
    waiting = list(questions)
    answers: dict[int, Answer] = {}
    stream = b""
    event: bytes | OSError = yield Ask(
        family, transport, address, packets if transport == UDP else (frame(packets),), timeout_s
    )
    while not isinstance(event, OSError):
        if transport == UDP:
            messages = [event]
        elif event:
            messages, stream = split_stream(stream + event)
        else:
            return Outcome(answers, ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
        for message in messages:
            for question in [question for question in waiting if is_answer(question, message)]:
                answers[question.kind] = read_answer(question, message)
                waiting.remove(question)
        if not waiting:
            return Outcome(answers, None)
        event = yield Read()
    return Outcome(answers, event)


def frame(packets: tuple[bytes, ...]) -> bytes:
    """Put messages behind each other in the form for TCP, each with its length in front."""
    return b"".join(pack("!H", len(packet)) + packet for packet in packets)


def split_stream(stream: bytes) -> tuple[list[bytes], bytes]:
    """Take whole messages from the beginning of a stream; give them and what is left."""
    messages: list[bytes] = []
    while len(stream) >= 2:
        end = 2 + int.from_bytes(stream[:2], "big")
        if len(stream) < end:
            break
        messages.append(stream[2:end])
        stream = stream[end:]
    return messages, stream
