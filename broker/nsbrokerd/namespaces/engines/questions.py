"""One question for each name at a time. Its answer is for all requests that came before the question began."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class _Round(Generic[T]):
    """The questions for one name. They are numbered, from 1."""

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.requests = 0
        self.begun = 0
        self.answered = 0
        """The number of the last question that has an answer: `answer`, unless there is an `error`."""

        self.answer: T
        self.error: Exception | None = None


class Questions(Generic[T]):
    """Questions to one engine, by name."""

    def __init__(self, places: trio.CapacityLimiter, error: type[Exception]) -> None:
        """Take the number of questions that are asked at once, for all names.

        Args:
            places: each question takes one of them.
            error: the exceptions that are answers, too.
        """
        self._places = places
        self._error = error
        self._rounds: dict[str, _Round[T]] = {}

    async def ask(self, name: str, question: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to a question that begins after this call.

        If the asking request is cancelled, the next request that waits asks anew. So no request waits for an answer
        that does not come.

        Raises:
            Exception: an exception of the question.
        """
        waiting = self._rounds.setdefault(name, _Round())
        waiting.requests += 1
        begun = waiting.begun
        try:
            async with waiting.lock:
                if waiting.answered <= begun:
                    await self._ask(waiting, question)
                if waiting.error is not None:
                    raise waiting.error
                return waiting.answer
        finally:
            waiting.requests -= 1
            if not waiting.requests:
                del self._rounds[name]

    async def _ask(self, waiting: _Round[T], question: Callable[[], Awaitable[T]]) -> None:
        async with self._places:
            waiting.begun += 1
            number = waiting.begun
            try:
                waiting.answer, waiting.error = await question(), None
            except self._error as error:
                waiting.error = error
            waiting.answered = number
