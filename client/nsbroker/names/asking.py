"""One try at one name server: by UDP or TCP, whichever the policy lets us have, and by TCP again what was cut off."""

from __future__ import annotations

import errno
import os
import socket

from ..link.errors import AccessDeniedError, Error
from .actions import FindInterface
from .exchange import DNS_PORT, TCP, UDP, converse
from .failure import EAI_FAIL, gaierror
from .messages import FORMERR, Answer
from .verdict import CUT_OFF, NOT_ALLOWED, judge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .actions import SocketAddress, Steps
    from .exchange import Outcome
    from .messages import Question
    from .resolv_conf import NameServer, Settings
    from .verdict import Complaint

_OUR_OWN_TROUBLE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


class Asking:
    """How servers are asked, for one look-up: what is refused, or not understood, is not tried twice.

    Args:
        settings: what resolv.conf says.
        random_id: gives the ids of questions, 0..65535.
    """

    def __init__(self, settings: Settings, random_id: Callable[[], int] | None = None) -> None:
        self._transports = (TCP, UDP) if settings.use_vc else (UDP, TCP)
        self._edns0 = settings.edns0
        self._trust_ad = settings.trust_ad
        self._random_id = random_id or _random_id
        self._refused: dict[int, AccessDeniedError] = {}

    def ask(
        self, server: NameServer, name: str, kinds: Sequence[int], timeout_s: float
    ) -> Steps[tuple[dict[int, Answer], Complaint | None]]:
        """Ask a server once; give the answers that count, and what was wrong with the rest.

        Raises:
            socket.gaierror: the policy refuses both UDP and TCP.
            OSError: the broker fails, or this process is out of descriptors or memory.
        """
        for transport in self._transports:
            outcome = yield from self._converse(server, transport, name, kinds, timeout_s)
            if outcome is not None:
                break
        else:
            self._raise_refusal()
            return {}, NOT_ALLOWED
        answers, complaint = judge(outcome)
        cut = [kind for kind, answer in answers.items() if answer.truncated] if transport == UDP else []
        if cut:
            complete, cut_complaint = yield from self._complete(server, name, answers, cut, timeout_s)
            return complete, complaint or cut_complaint
        return answers, complaint

    def _complete(
        self, server: NameServer, name: str, answers: dict[int, Answer], cut: Sequence[int], timeout_s: float
    ) -> Steps[tuple[dict[int, Answer], Complaint | None]]:
        """Ask by TCP for what was cut off. Where TCP is refused, some addresses are better than none."""
        outcome = yield from self._converse(server, TCP, name, cut, timeout_s)
        if outcome is None:
            kept = {kind: answer for kind, answer in answers.items() if answer.records or not answer.truncated}
            return kept, None if len(kept) == len(answers) else CUT_OFF
        complete, complaint = judge(outcome)
        return {kind: answer for kind, answer in answers.items() if kind not in cut} | complete, complaint

    def _converse(
        self, server: NameServer, transport: int, name: str, kinds: Sequence[int], timeout_s: float
    ) -> Steps[Outcome | None]:
        """Ask by one transport; None if we may not."""
        if transport in self._refused:
            return None
        address = yield from _socket_address(server)
        outcome = yield from converse(server.family, transport, address, self._questions(name, kinds), timeout_s)
        if self._edns0 and any(answer.rcode == FORMERR for answer in outcome.answers.values()):
            self._edns0 = False
            outcome = yield from converse(server.family, transport, address, self._questions(name, kinds), timeout_s)
        error = outcome.error
        if isinstance(error, AccessDeniedError):
            self._refused[transport] = error
        elif isinstance(error, Error) or (error is not None and error.errno in _OUR_OWN_TROUBLE):
            raise error
        # A PermissionError that is none of the broker's is what the grant's limit says to this address.
        return None if isinstance(error, PermissionError) else outcome

    def _raise_refusal(self) -> None:
        """Raise if it is the broker that refuses: the next server would not be any better."""
        if len(self._refused) == len(self._transports):
            refusal = self._refused[self._transports[0]]
            raise gaierror(EAI_FAIL, str(refusal.strerror)) from refusal

    def _questions(self, name: str, kinds: Sequence[int]) -> list[Question]:
        from .codec import make_question

        ids: list[int] = []
        while len(ids) < len(kinds):
            if (number := self._random_id()) not in ids:
                ids.append(number)
        return [
            make_question(name, kind, number, edns0=self._edns0, trust_ad=self._trust_ad)
            for kind, number in zip(kinds, ids, strict=True)
        ]


def _socket_address(server: NameServer) -> Steps[SocketAddress]:
    if server.family == socket.AF_INET:
        return server.address, DNS_PORT
    scope = server.scope
    index: int = int(scope) if scope.isdecimal() else (yield FindInterface(scope)) if scope else 0
    return server.address, DNS_PORT, 0, index


def _random_id() -> int:
    """Give an id that can't be guessed; `secrets` has the same source, and is slow to import."""
    return int.from_bytes(os.urandom(2), "big")
