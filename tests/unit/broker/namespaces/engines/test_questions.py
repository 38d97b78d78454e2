"""Requests for one name share a question, but only one that began after the request."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from nsbrokerd.namespaces.engines.questions import Questions


class Refusal(Exception):
    """An answer that is an exception."""


class Asked:
    """An engine whose answers are the numbers of the questions. It answers when the test says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.answers: list[object] = []
        self.may_answer = trio.Semaphore(0)
        self.questions = Questions[int](trio.CapacityLimiter(8), Refusal)

    async def question(self) -> int:
        self.begun += 1
        number = self.begun
        await self.may_answer.acquire()
        if self.refuses:
            raise Refusal(str(number))
        return number

    refuses = False

    async def request(self, name: str = "web") -> None:
        try:
            self.answers.append(await self.questions.ask(name, self.question))
        except Refusal as refusal:
            self.answers.append(str(refusal))


async def test_request_during_a_question_gets_the_answer_of_the_next_one() -> None:
    """The first answer may be about a container that has restarted before the request came."""
    asked = Asked()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.request)
        await wait_all_tasks_blocked()
        for _ in range(5):
            nursery.start_soon(asked.request)
        await wait_all_tasks_blocked()
        assert asked.begun == 1
        asked.may_answer.release()
        await wait_all_tasks_blocked()
        assert (asked.begun, asked.answers) == (2, [1])
        asked.may_answer.release()
    assert asked.begun == 2
    assert asked.answers == [1, 2, 2, 2, 2, 2]


async def test_later_requests_wait_for_a_later_question() -> None:
    asked = Asked()
    async with trio.open_nursery() as nursery:
        for number in range(1, 4):
            nursery.start_soon(asked.request)
            await wait_all_tasks_blocked()
            assert asked.begun == 1
            if number == 3:
                asked.may_answer.release()
                await wait_all_tasks_blocked()
        nursery.start_soon(asked.request)
        await wait_all_tasks_blocked()
        assert asked.begun == 2
        asked.may_answer.release()
        await wait_all_tasks_blocked()
        assert sorted(map(str, asked.answers)) == ["1", "2", "2"]
        asked.may_answer.release()
    assert asked.answers[-1] == 3


async def test_refusal_is_shared_as_well() -> None:
    asked = Asked()
    asked.refuses = True
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(asked.request)
            await wait_all_tasks_blocked()
        asked.may_answer.release()
        asked.may_answer.release()
    assert asked.answers == ["1", "2", "2"]


async def test_cancelled_question_is_asked_anew() -> None:
    asked = Asked()
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await asked.request()

        nursery.start_soon(cancelled)
        await wait_all_tasks_blocked()
        nursery.start_soon(asked.request)
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        assert asked.begun == 2
        asked.may_answer.release()
    assert asked.answers == [2]


async def test_questions_for_other_names_do_not_wait() -> None:
    asked = Asked()
    async with trio.open_nursery() as nursery:
        for name in ("web", "db"):
            nursery.start_soon(asked.request, name)
        await wait_all_tasks_blocked()
        assert asked.begun == 2
        asked.may_answer.release()
        asked.may_answer.release()


@pytest.mark.parametrize("refuses", [False, True])
async def test_nothing_is_remembered(refuses: bool) -> None:
    asked = Asked()
    asked.refuses = refuses
    for number in range(1, 3):
        asked.may_answer.release()
        await asked.request()
        assert str(asked.answers[-1]) == str(number)
    assert asked.questions._rounds == {}
