"""A socket of SCTP either begins associations, or SCTP makes other sockets of it, if connecting is limited. Pure.

The first wall does not see the packets of a socket that SCTP makes for `accept` or `peeloff`. If the peer asked for its
association, it was checked then. But one that the owner began can get addresses of the server that nothing checks. So
the first call decides what a socket is for, and calls of the other kind are refused. A call counts even if it fails
later.

Each call sets its flag in one step, and only if no flag has changed since it decided. So of two calls at the same
moment, one sees the flag of the other, or that the socket was stopped.
"""

from __future__ import annotations

from .. import layout
from ..layout import CONNECT
from .assembly import R0, R1, R2, R3, R7, STACK
from .code import Code
from .hook import ENTRY, NUMBER

_TRIES = 4
"""Each flag changes rarely, and most only once."""


def choose_peer(code: Code, label: str) -> None:
    """Define a label where the owner chooses a peer that the limit covers. Refuse it to a socket that makes others."""
    code.label(label)
    code.load(R7, STACK, ENTRY, 8)
    for _ in range(_TRIES):
        code.load(R0, R7, layout.ENTRY_FLAGS)
        code.copy(R1, R0)
        code.mask_number(R1, layout.PARENT)
        code.go_if(R1, "!=", 0, "deny")
        _put_flag(code, layout.CHOSEN)
    code.go("deny")


def become_parent(code: Code) -> None:
    """Allow SCTP to make other sockets of this one. R7 is its entry.

    Refuse it if connecting is limited, and there can be an association that was not checked: the owner chose a peer, or
    a peer of several addresses asked for one before connecting was limited.
    """
    for number in range(_TRIES):
        code.load(R1, R7, layout.ENTRY_FLAGS)
        code.store(STACK, NUMBER, R1)
        code.mask_number(R1, layout.STOPPED)
        code.go_if(R1, "!=", 0, "deny")
        code.find_limits()
        code.go_if_anywhere(CONNECT, f"may make others {number}")
        code.load(R1, STACK, NUMBER)
        code.mask_number(R1, layout.CHOSEN | layout.SEVERAL)
        code.go_if(R1, "!=", 0, "deny")
        code.label(f"may make others {number}")
        code.load(R0, STACK, NUMBER)
        _put_flag(code, layout.PARENT)
    code.go("deny")


def _put_flag(code: Code, flag: int) -> None:
    """Allow, and set a flag, if the flags of the entry in R7 still equal R0. Otherwise go on."""
    code.copy(R2, R0)
    code.copy(R1, R0)
    code.set(R3, flag)
    code.merge(R1, R3)
    code.replace(R7, layout.ENTRY_FLAGS, R1)
    code.go_if_register(R0, "==", R2, "allow")
