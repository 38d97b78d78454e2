"""What an operation knows about the task of a request: what it takes, and its client."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from ..policy.plans import Refusal


class TaskQuota(NamedTuple):
    """What a request with a task takes.

    Attributes:
        name: the quota that it counts against. All requests with this name share a bounded number of tasks.
        for_user: how much requests of one user may take at the same time.
        amount: how much this request takes.
        holds_all: whether `amount` also stands for the descriptors and bytes of the request.
    """

    name: str
    for_user: int
    amount: int = 1
    holds_all: bool = False


class IsAnswerable(Protocol):
    """The client of a task. Call it to wait until the client has read enough of its replies."""

    async def __call__(self) -> bool:
        """Wait, and return False if the client is gone."""

    def is_gone(self) -> bool:
        """Return whether the client is gone."""

    def asleep(self) -> AbstractContextManager[None]:
        """Within this, the task only waits for an event. The hub serves others as if there were no task."""

    def move_to(self, quota: TaskQuota) -> Refusal | None:
        """Count the task against this quota alone from now on, or return a refusal if that has no room.

        If it counts against this quota already, that changes nothing.
        """
