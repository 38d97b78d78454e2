"""The programs that enforce limits in the kernel, as BPF instructions. Pure. Imports only seal.layout and policy.

The kernel runs them for each socket that was made in their control group, in whichever process. The group itself has
only stubs. A stub continues in the real program, which it finds in a pinned array. So a broker can replace programs
even after their group was removed, and if the array has no program, the stub denies everything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ..layout import IPV4, IPV6
from .addresses import check_bind, check_connect, check_send
from .assembly import R2, R3, Assembly
from .code import Code
from .options import check_option
from .packets import check_incoming, check_outgoing

_CGROUP_SKB, _SOCK_ADDR, _SOCKOPT = 8, 18, 25
_TAIL_CALL = 12


class Program(NamedTuple):
    """A program, its type and its hook. The numbers are those of include/uapi/linux/bpf.h."""

    name: str
    type: int
    attach_type: int
    write: Callable[[Code], None]

    def assemble(self, sockets_fd: int, limits_fd: int) -> bytes:
        """Return the instructions, for these two maps."""
        code = Code(sockets_fd, limits_fd)
        self.write(code)
        return code.assemble()

    def assemble_stub(self, array_fd: int) -> bytes:
        """Return the instructions of the stub, for the array that has the program."""
        code = Assembly()
        code.set_map(R2, array_fd)
        code.set(R3, 0)
        code.call(_TAIL_CALL)
        code.end(0)
        return code.assemble()


PROGRAMS = (
    Program("connect4", _SOCK_ADDR, 10, partial(check_connect, version=IPV4)),
    Program("connect6", _SOCK_ADDR, 11, partial(check_connect, version=IPV6)),
    Program("bind4", _SOCK_ADDR, 8, partial(check_bind, version=IPV4)),
    Program("bind6", _SOCK_ADDR, 9, partial(check_bind, version=IPV6)),
    Program("send4", _SOCK_ADDR, 14, partial(check_send, version=IPV4)),
    Program("send6", _SOCK_ADDR, 15, partial(check_send, version=IPV6)),
    Program("setsockopt", _SOCKOPT, 22, check_option),
    Program("egress", _CGROUP_SKB, 1, check_outgoing),
    Program("ingress", _CGROUP_SKB, 0, check_incoming),
)
"""All programs. A socket is sealed only if each of them is attached."""
