"""The programs of the second wall that end a peeloff: they refuse the file of a socket that must not be. Pure.

The kernel asks before a peeloff, but does not say which association it is for. It says so when the new socket is there,
and then the program can't refuse. But next the kernel makes the socket's file, and asks again. So the programs pass on
what they know of a thread, by a map:

1. `check_peeloff` takes a place in the map for the thread that asks. Without a place, nothing is peeled off.
2. `copy_sctp_entry` (see `sctp`) notes there that the new socket must not be: see `refuse_file`.
3. `check_file` refuses the thread's next file, and gives the place back. The kernel then closes the socket.

`forget_thread` gives back the place of a thread that ended. Source: sctp_getsockopt_peeloff_common in
net/sctp/socket.c, sock_alloc_file in net/socket.c.
"""

from __future__ import annotations

import socket

from .. import layout
from ..layout import CONNECT
from .assembly import R0, R1, R2, R3, R4, R6, R7, R9, STACK
from .code import Code
from .hook import Fields, begin, put_number

# Source: include/uapi/linux/bpf.h, the numbers of the helpers.
_MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _CURRENT_TASK = 1, 2, 3, 35

_SOL_SCTP = int(socket.IPPROTO_SCTP)
_PEELOFF, _PEELOFF_FLAGS = 102, 122
"""Source: include/uapi/linux/sctp.h."""

# Offsets on the stack, below those of the programs that use these functions.
_THREAD, _IS_REFUSED = -160, -168


def check_peeloff(code: Code, fields: Fields) -> None:
    """Refuse to peel off an association if connecting is limited, and a peer of the socket has several addresses.

    Otherwise take a place for the thread. This hook does not see which association it would be.
    """
    put_number(code, 1, R3)
    code.go_if(R3, "!=", _SOL_SCTP, "allow")
    put_number(code, 2, R3)
    code.go_if(R3, "==", _PEELOFF, "peels off")
    code.go_if(R3, "!=", _PEELOFF_FLAGS, "allow")
    code.label("peels off")
    begin(code, fields)
    _find_thread(code)
    code.store_number(STACK, _IS_REFUSED, 0, 8)
    _update(code)
    code.go_if(R0, "!=", 0, "deny")
    code.load(R9, R7, layout.ENTRY_FLAGS)
    code.find_limits()
    code.mask_number(R9, layout.SEVERAL)
    code.go_if(R9, "==", 0, "allow")
    code.go_if_anywhere(CONNECT, "allow")


def refuse_file(code: Code, failed: str) -> None:
    """Allow, and have the next file of this thread refused. Jump to `failed` if there is no place to note it."""
    _find_thread(code)
    _call_for_thread(code, _MAP_LOOKUP)
    code.go_if(R0, "==", 0, "peels off without a place")
    code.store_number(R0, 0, 1, 8)
    code.go("allow")
    code.label("peels off without a place")
    # It asked before the program was attached that gives places.
    code.store_number(STACK, _IS_REFUSED, 1, 8)
    _update(code)
    code.go_if(R0, "!=", 0, failed)
    code.go("allow")


def check_file(code: Code, _fields: Fields) -> None:
    """Refuse the file of a thread with this note."""
    _find_thread(code)
    _call_for_thread(code, _MAP_LOOKUP)
    code.go_if(R0, "==", 0, "allow")
    code.load(R7, R0, 0, 8)
    _call_for_thread(code, _MAP_DELETE)
    code.go_if(R7, "==", 0, "allow")


def forget_thread(code: Code, _fields: Fields) -> None:
    """Give back the place of a thread, before another one can have its address. The kernel ignores the answer."""
    code.load(R1, R6, 0, 8)
    code.store(STACK, _THREAD, R1, 8)
    _call_for_thread(code, _MAP_DELETE)
    code.go_if(R0, "==", 0, "allow")


def _find_thread(code: Code) -> None:
    code.call(_CURRENT_TASK)
    code.store(STACK, _THREAD, R0, 8)


def _call_for_thread(code: Code, helper: int) -> None:
    code.set_map(R1, code.peeloffs_fd)
    code.copy(R2, STACK)
    code.add(R2, _THREAD)
    code.call(helper)


def _update(code: Code) -> None:
    code.copy(R3, STACK)
    code.add(R3, _IS_REFUSED)
    code.set(R4, 0)
    _call_for_thread(code, _MAP_UPDATE)
