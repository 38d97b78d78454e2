"""The name servers of one look-up: which one is asked when, by UDP or TCP, and their common verdict on a name."""

from __future__ import annotations

import errno
import os
import socket

from ...link.errors import AccessDeniedError, Error
from ...wire.record import Record
from ..errors import EAI_FAIL, gaierror
from .messages import FORMERR, NOERROR, Answer, make_question
from .questions import TCP, UDP, Complaint, converse, judge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..files.resolv_conf import NameServer, Settings
    from ..inside import Inside
    from ..numeric import SocketAddress
    from .messages import Question
    from .questions import Outcome, Silence

_DNS_PORT = 53
_MAX_SCOPE = 0xFFFFFFFF
_OUR_OWN_TROUBLE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_NOT_ALLOWED = Complaint("silent", os.strerror(errno.EPERM))
_CUT_OFF = Complaint("silent", "the answer needs TCP, which the policy refuses")


class Verdict(Record):
    """The answers of all servers together about one name, by record type, and `silence` if some are missing."""

    answers: dict[int, Answer]
    silence: Silence | None = None

    @property
    def found(self) -> bool:
        """Whether there are records of a type in question."""
        return _has_records(self.answers)

    @property
    def is_final(self) -> bool:
        """Whether the search can end: the name exists, possibly only as an alias of a name without such records."""
        return any(answer.any_records and answer.rcode == NOERROR for answer in self.answers.values())

    @property
    def exists(self) -> bool:
        """Whether the servers know the name. If they disagree about it, glibc takes it for unknown."""
        return bool(self.answers) and all(answer.rcode == NOERROR for answer in self.answers.values())


class Servers:
    """The servers of `settings`, for one look-up. It remembers transports that the policy refuses.

    Args:
        inside: the namespace of the look-up. Its `rotation` is the server with which `options rotate` begins.
        settings: the contents of resolv.conf.
        random_id: returns the ids of questions, 0..65535. Default: random.
        hides_records: the answers are those for a type of which no name has records.
    """

    def __init__(
        self,
        inside: Inside,
        settings: Settings,
        random_id: Callable[[], int] | None = None,
        *,
        hides_records: bool = False,
    ) -> None:
        self._hides_records = hides_records
        self._inside = inside
        self._settings = settings
        self._random_id = random_id or _random_id
        self._transports = (TCP, UDP) if settings.use_vc else (UDP, TCP)
        self._edns0 = settings.edns0
        self._refused: dict[int, AccessDeniedError] = {}
        first = inside.rotation % len(settings.servers) if settings.rotate else 0
        self._order = settings.servers[first:] + settings.servers[:first]
        self._complaints: dict[NameServer, Complaint] = {}

    @property
    def complaints(self) -> dict[NameServer, str]:
        """For each server that left a question open, the reason in words."""
        return {server: complaint.text for server, complaint in self._complaints.items()}

    async def ask(self, name: str, record_types: Sequence[int]) -> Verdict:
        """Ask for records of an absolute name, until each type has its answer or all tries are used up.

        Once there are records of one type, the other type gets one more try, not all of them.

        Raises:
            socket.gaierror: the policy refuses both UDP and TCP.
            OSError: the broker fails, or this process is out of descriptors or memory.
        """
        answers: dict[int, Answer] = {}
        complaints: dict[NameServer, Complaint] = {}
        is_last_try = False
        for server, timeout_s in self._schedule():
            missing = [each for each in record_types if each not in answers]
            for group in [[each] for each in missing] if self._settings.single_request else [missing]:
                good, complaint = await self._try(server, name, group, timeout_s)
                if self._hides_records:
                    good = {each: answer._replace(any_records=False, records=()) for each, answer in good.items()}
                answers.update(good)
                if complaint:
                    complaints[server] = self._complaints[server] = complaint
            if len(answers) == len(record_types):
                return Verdict(answers)
            if is_last_try:
                break
            is_last_try = _has_records(answers)
        return Verdict(answers, _silence(complaints.values()))

    def _schedule(self) -> Iterator[tuple[NameServer, float]]:
        """Yield servers, and the seconds for each try. Source: __res_context_send in glibc's res_send.c."""
        count = len(self._order)
        for _ in range(self._settings.attempts):
            for index, server in enumerate(self._order):
                timeout_s = self._settings.timeout_s << index
                yield server, max(1, timeout_s // count if index else timeout_s)

    async def _try(
        self, server: NameServer, name: str, record_types: Sequence[int], timeout_s: float
    ) -> tuple[dict[int, Answer], Complaint | None]:
        """Ask a server once. Return the answers that count, and the complaint about the others."""
        for transport in self._transports:
            outcome = await self._converse(server, transport, name, record_types, timeout_s)
            if outcome is not None:
                break
        else:
            self._raise_refusal()
            return {}, _NOT_ALLOWED
        answers, complaint = judge(outcome)
        cut = [each for each, answer in answers.items() if answer.truncated] if transport == UDP else []
        if not cut:
            return answers, complaint
        outcome = await self._converse(server, TCP, name, cut, timeout_s)
        if outcome is None:
            # Where TCP is refused, some addresses are better than no address.
            kept = {each: answer for each, answer in answers.items() if answer.records or not answer.truncated}
            return kept, complaint or (None if len(kept) == len(answers) else _CUT_OFF)
        complete, cut_complaint = judge(outcome)
        return {each: answer for each, answer in answers.items() if each not in cut} | complete, (
            complaint or cut_complaint
        )

    async def _converse(
        self, server: NameServer, transport: int, name: str, record_types: Sequence[int], timeout_s: float
    ) -> Outcome | None:
        """Ask by one transport. Return `None` if it is refused."""
        if transport in self._refused:
            return None
        address = await self._socket_address(server)

        async def attempt() -> Outcome:
            questions = self._questions(name, record_types)
            return await converse(self._inside, server.family, transport, address, questions, timeout_s)

        outcome = await attempt()
        if self._edns0 and any(answer.rcode == FORMERR for answer in outcome.answers.values()):
            self._edns0 = False
            outcome = await attempt()
        error = outcome.error
        if isinstance(error, AccessDeniedError):
            self._refused[transport] = error
        elif isinstance(error, Error) or (error is not None and error.errno in _OUR_OWN_TROUBLE):
            raise error
        # A PermissionError of the kernel comes from the grant's limit, which forbids this address.
        return None if isinstance(error, PermissionError) else outcome

    def _raise_refusal(self) -> None:
        """Raise if the broker refuses both transports: it would refuse them for the next server, too."""
        if len(self._refused) == len(self._transports):
            refusal = self._refused[self._transports[0]]
            raise gaierror(EAI_FAIL, str(refusal.strerror)) from refusal

    def _questions(self, name: str, record_types: Sequence[int]) -> list[Question]:
        ids: list[int] = []
        while len(ids) < len(record_types):
            if (number := self._random_id()) not in ids:
                ids.append(number)
        return [
            make_question(name, record_type, number, edns0=self._edns0, trust_ad=self._settings.trust_ad)
            for record_type, number in zip(record_types, ids, strict=True)
        ]

    async def _socket_address(self, server: NameServer) -> SocketAddress:
        if server.family == socket.AF_INET:
            return server.address, _DNS_PORT
        scope = server.scope
        if scope.isascii() and scope.isdecimal() and len(scope) <= len(str(_MAX_SCOPE)) and int(scope) <= _MAX_SCOPE:
            return server.address, _DNS_PORT, 0, int(scope)
        # As in glibc, a scope that is no interface does not count.
        return server.address, _DNS_PORT, 0, await self._inside.find_interface(scope) if scope else 0


def _random_id() -> int:
    """Return an id that an attacker can't guess. `secrets` has the same source, and is slow to import."""
    return int.from_bytes(os.urandom(2), "big")


def _has_records(answers: dict[int, Answer]) -> bool:
    return any(answer.records for answer in answers.values())


def _silence(complaints: Iterable[Complaint]) -> Silence:
    said = {complaint.silence for complaint in complaints}
    if said == {"absent"}:
        return "absent"
    return "servfail" if "servfail" in said else "silent"
