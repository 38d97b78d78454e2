"""Answers in memory: nobody can change them, and the number and the size of those that clients hold are bounded."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from io import FileIO

import pytest

from nsbroker.wire import OS_ERROR, BlobReply
from nsbrokerd.clients.client import Person
from nsbrokerd.policy.plans import Refusal
from nsbrokerd.requests.answers import (
    MAX_ANSWER_BYTES,
    MAX_HELD,
    MAX_HELD_BYTES,
    MAX_HELD_FOR_PERSON,
    MAX_HELD_FOR_PERSON_BYTES,
    Answers,
    TooMuchHeldError,
)
from nsbrokerd.requests.operation import Answer, answer_blob
from support.steps import count_steps

LARGE = MAX_HELD_FOR_PERSON_BYTES // 2 - 4096
"""Two of them are all that a person may hold."""


class Clock:
    """A second passes with each look."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


class Measured(Answers):
    """Answers whose memory is `kept`, as far as the kernel says."""

    kept: int | None = None

    def __init__(self) -> None:
        super().__init__(lambda: self.kept, Clock())


def person(uid: int = 1000, *, is_named: bool = True) -> Person:
    made = Person(uid, 0.0, 1)
    made.is_named = is_named
    return made


@pytest.fixture
def files() -> Iterator[list[FileIO]]:
    """Files of clients, which are closed at the end."""
    files: list[FileIO] = []
    yield files
    for file in files:
        file.close()


@pytest.fixture
def answers(files: list[FileIO]) -> Iterator[Measured]:
    """Answers of a broker. At the end, nothing is left of them."""
    before = len(os.listdir("/proc/self/fd"))
    answers = Measured()
    yield answers
    for file in files:
        file.close()
    answers.release_unused()
    assert len(os.listdir("/proc/self/fd")) == before


def inode(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_ino


def test_answer_can_not_be_changed_by_any_process(answers: Measured) -> None:
    """Neither the client nor the broker can write, cut or grow it, or map it for writing."""
    with answers.open(person(), b"answer") as file:
        writer = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDWR) if os.geteuid() == 0 else file.fileno()
        for change in (
            lambda: os.pwrite(writer, b"x", 0),
            lambda: os.ftruncate(writer, 1),
            lambda: os.ftruncate(writer, 9),
        ):
            with pytest.raises((PermissionError, OSError)):
                change()
        with pytest.raises(PermissionError):
            mmap.mmap(writer, 6, mmap.MAP_SHARED, mmap.PROT_WRITE)
        assert os.pread(file.fileno(), 100, 0) == b"answer"
        assert not os.get_inheritable(file.fileno())
        if writer != file.fileno():
            os.close(writer)


def test_equal_answers_of_a_person_share_their_memory(answers: Measured, files: list[FileIO]) -> None:
    """Not their offset, and not with another person, who could see when they are read."""
    files += [answers.open(person(), bytes(LARGE)) for _ in range(5)]
    assert len(set(map(inode, files))) == 1
    files[0].seek(7)
    assert files[1].tell() == 0
    files.append(answers.open(person(1001), bytes(LARGE)))
    assert inode(files[-1]) != inode(files[0])
    files.append(answers.open(person(), bytes(LARGE - 1)))
    assert inode(files[-1]) not in map(inode, files[:-1])


def test_answers_with_the_same_hash_are_told_apart(
    answers: Measured, files: list[FileIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsbrokerd.requests.answers.hash", lambda _: 7, raising=False)
    files += [answers.open(person(), data) for data in (b"one", b"two", b"two", b"one", b"three")]
    assert [os.pread(file.fileno(), 10, 0) for file in files] == [b"one", b"two", b"two", b"one", b"three"]
    assert len(set(map(inode, files))) == 3


def test_answers_of_a_person_are_bounded(answers: Measured, files: list[FileIO]) -> None:
    """Until its clients close some. Another person still gets some."""
    files += [answers.open(person(), bytes([number]) * LARGE) for number in range(2)]
    with pytest.raises(TooMuchHeldError, match="the clients of this user hold too many answers"):
        answers.open(person(), b"one more")
    files.append(answers.open(person(), bytes(LARGE)))
    files.append(answers.open(person(1001), b"one more"))
    for file in files[1:2]:
        file.close()
    files.append(answers.open(person(), b"one more"))


def test_number_of_answers_of_a_person_is_bounded(answers: Measured, files: list[FileIO]) -> None:
    """Each of them takes a descriptor of the broker."""
    files += [answers.open(person(), b"%d" % number) for number in range(MAX_HELD_FOR_PERSON)]
    with pytest.raises(TooMuchHeldError, match="the clients of this user"):
        answers.open(person(), b"one more")


def fill(answers: Answers, size: int, uids: range, *, is_named: bool) -> list[FileIO]:
    """Open as many answers of this size as possible, for these uids in turn."""
    files = []
    for number in range(2 * MAX_HELD):
        data = b"%8d" % number * (size // 8)
        try:
            files.append(answers.open(person(uids[number % len(uids)], is_named=is_named), data))
        except TooMuchHeldError:
            break
    return files


@pytest.mark.parametrize(("size", "most"), [(8, MAX_HELD), (2**22 - 4096, MAX_HELD_BYTES // 2**22)])
def test_answers_of_all_persons_are_bounded(answers: Measured, files: list[FileIO], size: int, most: int) -> None:
    """In number and in size. Persons that no grant names get half."""
    files += fill(answers, size, range(1000, 1040), is_named=False)
    assert len(files) == most // 2
    files += fill(answers, size, range(2000, 2040), is_named=True)
    assert len(files) == most


def test_room_of_closed_answers_is_found(answers: Measured, files: list[FileIO]) -> None:
    """Also of other persons, and at the latest a second later."""
    for file in fill(answers, 2**22 - 4096, range(1000, 1040), is_named=False):
        file.close()
    files.append(answers.open(person(1050, is_named=False), bytes(LARGE)))
    before = len(os.listdir("/proc/self/fd"))
    with answers.open(person(1051), b"more"):
        pass
    answers.release_unused()
    assert len(os.listdir("/proc/self/fd")) == before


def test_memory_that_clients_keep_unseen_counts(answers: Measured, files: list[FileIO]) -> None:
    """Against the unnamed persons, and then against all."""
    answers.kept = 0
    files.append(answers.open(person(1000, is_named=False), bytes(LARGE)))
    answers.kept = MAX_HELD_BYTES // 2 + LARGE
    with pytest.raises(TooMuchHeldError, match="the clients of all users"):
        answers.open(person(1001, is_named=False), b"one more")
    files.append(answers.open(person(1002), b"one more"))
    answers.kept = MAX_HELD_BYTES + LARGE
    files.append(answers.open(person(1002), bytes(LARGE)))
    with pytest.raises(TooMuchHeldError, match="the clients of all users"):
        answers.open(person(1003), b"one more")
    answers.kept = 0
    files.append(answers.open(person(1001, is_named=False), b"one more"))


def test_long_answer_is_refused() -> None:
    answer = answer_blob(7, bytes(MAX_ANSWER_BYTES), ["a record"])
    assert isinstance(answer, Answer)
    assert (answer.reply, answer.details) == (BlobReply(7, MAX_ANSWER_BYTES), ["a record"])
    refusal = answer_blob(7, bytes(MAX_ANSWER_BYTES + 1), ["a record"])
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.errno) == (OS_ERROR, errno.EFBIG)
    assert refusal.message == "the answer has 8388609 bytes, and the broker hands out at most 8388608"


PARTS = (bytes(1000), b"x" * 1000, b"end")


def test_long_answer_is_made_and_compared_in_steps(answers: Measured, files: list[FileIO]) -> None:
    """Others are served in between."""
    for cuts_at_least in (2 * len(PARTS), 2 * len(PARTS)):
        cuts, file = count_steps(answers.open_in_steps(person(), PARTS))
        files.append(file)
        assert cuts >= cuts_at_least
        assert os.pread(file.fileno(), 5000, 0) == b"".join(PARTS)
    assert inode(files[0]) == inode(files[1])


def test_equal_answers_that_are_made_at_the_same_time_share_their_memory(
    answers: Measured, files: list[FileIO]
) -> None:
    making = [answers.open_in_steps(person(), PARTS) for _ in range(3)]
    while making:
        for steps in list(making):
            try:
                next(steps)
            except StopIteration as end:
                files.append(end.value)
                making.remove(steps)
    assert len(set(map(inode, files))) == 1


def test_nothing_is_left_of_an_answer_that_is_given_up(answers: Measured, files: list[FileIO]) -> None:
    """The fixture looks for descriptors."""
    for number in range(4 * len(PARTS)):
        if number == 2 * len(PARTS):
            files.append(answers.open(person(), b"".join(PARTS)))
        steps = answers.open_in_steps(person(), PARTS)
        try:
            for _ in range(number):
                next(steps)
        except StopIteration as end:
            end.value.close()
        steps.close()
    assert answers._being_made == 0


def test_answers_that_are_being_made_count_for_all_persons(answers: Measured) -> None:
    making = []
    for uid in range(MAX_HELD_BYTES // LARGE):
        making.append(answers.open_in_steps(person(uid), (bytes(LARGE),)))
        assert [next(making[-1]) for _ in range(2)] == [None, None]
    one_too_many = answers.open_in_steps(person(), (bytes(LARGE),))
    next(one_too_many)
    with pytest.raises(TooMuchHeldError):
        next(one_too_many)
    for steps in making:
        steps.close()
