"""The class that replaces `socket.socket` under a patch makes sockets of known families only."""

from __future__ import annotations

import errno
import socket

import pytest

from nsbroker import Namespace
from nsbroker.patching import _stand_in

AF_RDS, AF_TIPC, AF_BLUETOOTH, AF_SMC, AF_XDP = 21, 30, 31, 43, 44


@pytest.mark.parametrize("family", [AF_RDS, AF_TIPC, AF_BLUETOOTH, AF_SMC, AF_XDP, 0])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW])
def test_other_families_do_not_exist(family: int, kind: int) -> None:
    """Their sockets would be in the program's own namespace. If the kernel knows the family, it may lack the type."""
    with pytest.raises(OSError, match="not supported") as caught:
        _stand_in(Namespace("blue"))(family, kind)
    assert caught.value.errno in (errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT)


def test_argument_that_is_no_number_is_a_type_error() -> None:
    for module in (socket.socket, _stand_in(Namespace("blue"))):
        with pytest.raises(TypeError, match="'str' object cannot be interpreted as an integer"):
            module("x")


def test_local_sockets_need_no_broker() -> None:
    with _stand_in(Namespace("blue"))(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        assert sock.family == socket.AF_UNIX
