"""What came of asking: answers that count, and complaints about what did not come."""

from __future__ import annotations

import errno
import os

from ..wire.record import Record
from .failure import SILENT
from .messages import BAD_ANSWER, NOERROR, NXDOMAIN, SERVFAIL, Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from .exchange import Outcome

    Silence: TypeAlias = Literal["nobody", "servfail", "silent"]

_NOBODY_THERE = frozenset({errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL})
_RCODE_TEXTS = {BAD_ANSWER: "an answer that can't be read", SERVFAIL: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}


class Complaint(Record):
    """Why a server has no answer: `text` in words; `silence` is how glibc's search list takes it.

    "nobody": there is nobody at this address. "servfail": it said SERVFAIL. "silent": anything else.
    """

    silence: Silence
    text: str


NOT_ALLOWED = Complaint("silent", os.strerror(errno.EPERM))
CUT_OFF = Complaint("silent", "the answer needs TCP, which the policy refuses")


class Verdict(Record):
    """What all servers together said of one name: `answers` by record type, `silence` where some are missing."""

    answers: dict[int, Answer]
    silence: Silence | None = None

    @property
    def found(self) -> bool:
        """Whether there are records of a type that was asked for."""
        return has_records(self.answers)

    @property
    def is_final(self) -> bool:
        """Whether no other name need be tried: this one is there, be it as an alias for what has no such records."""
        return any(answer.any_records and answer.rcode == NOERROR for answer in self.answers.values())

    @property
    def exists(self) -> bool:
        """Whether some server knows the name."""
        return any(answer.rcode == NOERROR for answer in self.answers.values())


def has_records(answers: dict[int, Answer]) -> bool:
    """Tell whether something was found."""
    return any(answer.records for answer in answers.values())


def judge(outcome: Outcome) -> tuple[dict[int, Answer], Complaint | None]:
    """Give the answers that count, and what was wrong with the rest, if there is one."""
    complaint = _complaint_of_error(outcome.error) if outcome.error else None
    good = {}
    for kind, answer in outcome.answers.items():
        if answer.rcode in (NOERROR, NXDOMAIN) and not answer.lame:
            good[kind] = answer
        else:
            complaint = _complaint_of_answer(answer)
    return good, complaint


def _complaint_of_answer(answer: Answer) -> Complaint:
    if answer.lame:
        return Complaint("silent", "it knows nothing of the name")
    text = _RCODE_TEXTS.get(answer.rcode, f"response code {answer.rcode}")
    return Complaint("servfail" if answer.rcode == SERVFAIL else "silent", text)


def _complaint_of_error(error: OSError) -> Complaint:
    if isinstance(error, TimeoutError):
        return Complaint("silent", SILENT)
    return Complaint("nobody" if error.errno in _NOBODY_THERE else "silent", error.strerror or str(error))
