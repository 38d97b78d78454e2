"""socket(2) fails with the errno that it has inside the namespace, unless the policy refuses the socket."""

from __future__ import annotations

import errno
import itertools
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from nsbroker import AccessDeniedError, Namespace
from nsbroker.place.kernel_errors import kernel_error
from nsbrokerd.policy.kinds import KIND_OF_TRIPLE, KINDS
from support.brokers.process import BrokerProcess
from support.inside import enter, path_of
from support.namespaces import ip
from support.users import GROUP, USER, as_user

FAMILIES = (-2, 0, 1, 2, 3, 10, 16, 17, 38, 40, 46, 99, 2**31)
TYPES = (-2, 0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 15, 99, 1 | socket.SOCK_CLOEXEC, 2 | socket.SOCK_NONBLOCK)
PROTOCOLS = (-2, 0, 1, 2, 6, 17, 50, 99, 132, 136, 250, 255, 256, 262, 263, 300, 2**31)
GRID = list(itertools.product(FAMILIES, TYPES, PROTOCOLS))
MATTERS_OF_RIGHTS = (errno.EPERM, errno.EACCES)


def _triple(args: tuple[int, ...]) -> tuple[int, ...]:
    return args[0], args[1] & ~(socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK), args[2]


def _outcome(make: Callable[..., socket.socket], args: tuple[Any, ...]) -> object:
    try:
        make(*args).close()
    except OSError as error:
        return error.errno
    except (TypeError, OverflowError) as error:
        return type(error).__name__
    return 0


def _native(name: str, grid: list[tuple[Any, ...]]) -> list[object]:
    enter(path_of(name))
    return as_user(USER, GROUP, lambda: [_outcome(socket.socket, args) for args in grid])  # type: ignore[no-any-return]  # as made


def _ours(path: str, name: str, grid: list[tuple[Any, ...]]) -> list[object]:
    return [_outcome(Namespace(name, path=path).socket, args) for args in grid]


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("errors")


def test_errno_is_the_kernels_for_every_family_type_and_protocol(
    name: str, start_broker: Callable[..., BrokerProcess]
) -> None:
    """The only other one is EACCES, where the namespace has such a socket, but no grant can name it.

    Raw sockets and packet sockets need rights there, and a grant here.
    """
    grant = f'[[grant]]\nname = "all"\nusers = [{USER}]\nnamespaces = ["{name}"]\nsockets = {list(KINDS)}\n'
    broker = start_broker(grant)
    native = as_user(0, 0, _native, name, GRID)
    ours = as_user(USER, GROUP, _ours, str(broker.socket_path), name, GRID)
    differences = {
        args: (there, here)
        for args, there, here in zip(GRID, native, ours, strict=True)
        if here != there and not (here == errno.EACCES and there == 0 and _triple(args) not in KIND_OF_TRIPLE)
        if there not in MATTERS_OF_RIGHTS or here not in (0, errno.EACCES)
    }
    assert differences == {}
    assert {0, errno.EINVAL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT} <= set(native)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((2, 1, 99), errno.EPROTONOSUPPORT),
        ((2, 5), errno.ESOCKTNOSUPPORT),
        ((2, 99), errno.EINVAL),
        (("x",), "TypeError"),
        ((2, 1.5), "TypeError"),
        ((2**40,), "OverflowError"),
    ],
)
def test_impossible_socket_fails_as_inside(
    name: str, broker: BrokerProcess, args: tuple[Any, ...], expected: object
) -> None:
    assert as_user(0, 0, _native, name, [args]) == [expected]
    assert as_user(USER, GROUP, _ours, str(broker.socket_path), name, [args]) == [expected]


def test_kernel_is_not_asked_about_kinds_of_the_policy() -> None:
    """For some of them, it would look for a module to load. The list of kinds is enough."""
    made: list[object] = []
    recording = True
    # An audit hook can't be removed, so it goes quiet instead.
    sys.addaudithook(lambda event, args: made.append(args) if recording and event == "socket.__new__" else None)
    for triple in KIND_OF_TRIPLE:
        assert kernel_error(*triple) is None
    assert made == []
    assert kernel_error(2, 1, 99)
    assert len(made) == 1
    recording = False


def test_socket_that_the_policy_refuses_is_a_denial(name: str, start_broker: Callable[..., BrokerProcess]) -> None:
    grant = f'[[grant]]\nname = "g"\nusers = [0]\nnamespaces = ["{name}"]\nsockets = ["tcp"]\n'
    blue = Namespace(name, path=str(start_broker(grant).socket_path))
    for triple in ((2, 2, 0), (2, 1, 132), (16, 3, 0), (2, 3, 99), (17, 3, 3)):
        with pytest.raises(AccessDeniedError) as caught:
            blue.socket(*triple)
        assert caught.value.errno == errno.EACCES
    ip("netns", "delete", name)
