"""The hostile users of the soak. In each period, attacks of tests/attack take turns beside all other users."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from attack.attack import Attack, Orders, Target
from attack.programs.connect_and_close import CONNECT_AND_CLOSE
from attack.programs.failing_packet_sockets import FAILING_PACKET_SOCKETS
from attack.programs.garbage import GARBAGE
from attack.programs.large_files import HELD_ANSWERS, READ_LARGE_FILES
from attack.programs.listeners import LISTENERS
from attack.programs.long_records import LONG_RECORDS
from attack.programs.slow_closes import SLOW_CLOSES
from attack.programs.turned_away import TURNED_AWAY
from support.users import GROUP, start_as_user

from .policy import FIELD
from .unread_replies import UNREAD_REPLIES

_ALL = (
    CONNECT_AND_CLOSE,
    GARBAGE,
    UNREAD_REPLIES,
    LISTENERS,
    TURNED_AWAY,
    FAILING_PACKET_SOCKETS,
    READ_LARGE_FILES,
    SLOW_CLOSES,
    LONG_RECORDS,
    HELD_ANSWERS,
)
"""All are of one user, by one to three processes. Those that need hundreds of uids are left to tests/attack."""

_END_S = 90
"""After its end was ordered, an attack may take so long, since its last request may wait for its turn."""


class Attackers:
    """Runs one attack after the other.

    Attributes:
        attacks: those that this machine can run.
        skipped: those that it can't, each with the reason.
        steps: of each attack, by its name.
    """

    def __init__(self, path: str) -> None:
        self._target = Target(path, FIELD, is_brief=True)
        reasons = [(one, one.why_not()) for one in _ALL]
        self.attacks = [one for one, reason in reasons if not reason]
        self.skipped = [f"the attack {one.name!r}: {reason}" for one, reason in reasons if reason]
        self.steps: Counter[str] = Counter({_title(one): 0 for one in self.attacks})
        self._ends: list[str] = []

    @contextmanager
    def attacking(self, attack: Attack, limit_s: float) -> Iterator[None]:
        """Run an attack until the context ends."""
        orders = Orders(attack.processes, limit_s)
        with attack.prepare(self._target):
            children = [
                start_as_user(attack.uid, GROUP, attack.program, self._target, number, orders)
                for number in range(attack.processes)
            ]
            try:
                yield
            finally:
                orders.stop()
                for child in children:
                    try:
                        child.result(_END_S)
                    except Exception as error:
                        self._ends.append(f"the attack {attack.name!r} ended with {error!r}")
                self.steps[_title(attack)] += orders.steps

    def faults(self) -> list[str]:
        """Return the attacks that did not take place. Without them, the soak does not show what it promises."""
        return [*self._ends, *(f"the attack {title!r} did nothing" for title, steps in self.steps.items() if not steps)]


def _title(attack: Attack) -> str:
    return f"{attack.name} ({attack.step})"
