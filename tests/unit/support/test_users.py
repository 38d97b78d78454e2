"""The helper that other tests rely on when they say "as another user"."""

from __future__ import annotations

import os

import pytest

from support.users import GROUP, USER, ChildError, as_user, start_as_user


def who_am_i() -> tuple[object, ...]:
    return os.getresuid(), os.getresgid(), os.getgroups()


def capabilities() -> str:
    with open("/proc/self/status") as status:
        return next(line.split()[1] for line in status if line.startswith("CapEff"))


def fail() -> None:
    raise PermissionError(13, "no")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@needs_root
def test_child_is_that_user_and_nothing_more() -> None:
    assert as_user(USER, GROUP, who_am_i) == ((USER,) * 3, (GROUP,) * 3, [])
    assert as_user(USER, GROUP, who_am_i, groups=(7, 8))[2] == [7, 8]
    assert int(as_user(USER, GROUP, capabilities), 16) == 0


def test_exception_arrives_as_it_was() -> None:
    with pytest.raises(PermissionError) as error:
        as_user(USER, GROUP, fail)
    assert error.value.errno == 13


def test_result_that_cannot_be_passed_on_is_an_error() -> None:
    with pytest.raises(ChildError, match="function"):
        as_user(USER, GROUP, lambda: lambda: 1)


def test_child_that_dies_is_an_error() -> None:
    with pytest.raises(ChildError, match="status 3"):
        as_user(USER, GROUP, os._exit, 3)


def test_child_that_hangs_is_ended() -> None:
    reader, writer = os.pipe()
    with pytest.raises(TimeoutError):
        start_as_user(USER, GROUP, os.read, reader, 1).result(timeout_s=0)
    os.close(reader)
    os.close(writer)
