"""The name servers of one look-up: which one is asked when, and what they all say of one name."""

from __future__ import annotations

from .asking import Asking
from .verdict import Verdict, has_records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .actions import Steps
    from .messages import Answer
    from .resolv_conf import NameServer, Settings
    from .verdict import Complaint, Silence


class Servers:
    """The servers of `settings`, for one look-up.

    Args:
        settings: what resolv.conf says.
        rotation: which server `options rotate` begins with; a number that grows with each look-up.
        random_id: gives the ids of questions, 0..65535; else they are random.
    """

    def __init__(self, settings: Settings, rotation: int = 0, random_id: Callable[[], int] | None = None) -> None:
        self._settings = settings
        self._asking = Asking(settings, random_id)
        first = rotation % len(settings.servers) if settings.rotate else 0
        self._order = settings.servers[first:] + settings.servers[:first]
        self._complaints: dict[NameServer, Complaint] = {}

    @property
    def complaints(self) -> dict[NameServer, str]:
        """What was wrong with each server that left a question open, in words."""
        return {server: complaint.text for server, complaint in self._complaints.items()}

    def ask(self, name: str, kinds: Sequence[int]) -> Steps[Verdict]:
        """Ask for records of an absolute name, until each type has its answer or all tries are used up.

        Once there are records of one type, the other gets one more try, not all of them.

        Raises:
            socket.gaierror: the policy refuses both UDP and TCP.
            OSError: the broker fails, or this process is out of descriptors or memory.
        """
        answers: dict[int, Answer] = {}
        complaints: dict[NameServer, Complaint] = {}
        is_last_try = False
        for server, timeout_s in self._schedule():
            missing = [kind for kind in kinds if kind not in answers]
            for group in [[kind] for kind in missing] if self._settings.single_request else [missing]:
                good, complaint = yield from self._asking.ask(server, name, group, timeout_s)
                answers.update(good)
                if complaint:
                    complaints[server] = self._complaints[server] = complaint
            if len(answers) == len(kinds):
                return Verdict(answers)
            if is_last_try:
                break
            is_last_try = has_records(answers)
        return Verdict(answers, _silence(complaints.values()))

    def _schedule(self) -> Iterator[tuple[NameServer, float]]:
        """Give servers and the seconds for each try. Source: send_dg and __res_context_send in glibc's res_send.c."""
        count = len(self._order)
        for _ in range(self._settings.attempts):
            for index, server in enumerate(self._order):
                timeout_s = self._settings.timeout_s << index
                yield server, max(1, timeout_s // count if index else timeout_s)


def _silence(complaints: Iterable[Complaint]) -> Silence:
    said = {complaint.silence for complaint in complaints}
    if said == {"nobody"}:
        return "nobody"
    return "servfail" if "servfail" in said else "silent"
