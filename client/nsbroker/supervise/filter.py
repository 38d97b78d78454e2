"""The seccomp filter: which system calls go to the supervisor, and which fail. Pure.

socket(2) of a network family goes to the supervisor. The other ways to a socket fail with ENOSYS: io_uring, whose rings
make sockets without a system call, and the socket calls of the other instruction sets of the processor. socket(2) of a
family that is neither local nor the broker's fails with EAFNOSUPPORT, since it would be in the caller's own namespace.
Source: seccomp(2), the syscall tables of Linux, include/uapi/linux/audit.h.
"""

from __future__ import annotations

import errno
import socket

from ..wire.record import Record
from .bpf import Instruction, assemble, end_with, if_at_least, if_equal, load

ALLOW = 0x7FFF0000
NOTIFY = 0x7FC00000
ERRNO = 0x00050000

NR_OFFSET = 0
ARCH_OFFSET = 4
FIRST_ARGUMENT_OFFSET = 16
"""The low half of args[0] in struct seccomp_data, where the kernel reads an int. All machines are little-endian."""

IO_URING_SETUP = 425
"""The same number on all machines."""
X32_BIT = 0x40000000
SOCKETCALL_SOCKET = 1
"""SYS_SOCKET, as socketcall(2) has it."""

BROKERED_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET)
LOCAL_FAMILIES = (socket.AF_UNIX, socket.AF_ALG, socket.AF_VSOCK)
"""Families without a network. AF_VSOCK connects a host and its virtual machines."""


class Machine(Record):
    """An instruction set with its system calls, and the second instruction set that the same kernel runs.

    Attributes:
        audit: its AUDIT_ARCH_ number.
        seccomp: the number of seccomp(2).
        socket: the number of socket(2).
        x32: whether there are system calls with `X32_BIT`.
        foreign_audit: the AUDIT_ARCH_ number of the second instruction set.
        foreign_socket: the number of its socket(2).
        foreign_socketcall: the number of its socketcall(2) (-1: there is no such call).
    """

    audit: int
    seccomp: int
    socket: int
    x32: bool
    foreign_audit: int
    foreign_socket: int
    foreign_socketcall: int


MACHINES = {
    "x86_64": Machine(0xC000003E, 317, 41, True, 0x40000003, 359, 102),
    "aarch64": Machine(0xC00000B7, 277, 198, False, 0x40000028, 281, -1),
}
"""The machines by `os.uname().machine`."""

_ABSENT = ERRNO | errno.ENOSYS
_NO_FAMILY = ERRNO | errno.EAFNOSUPPORT


def assemble_filter(machine: Machine) -> bytes:
    """Return the filter of a machine as an array of `struct sock_filter`."""
    return assemble(
        [
            load(ARCH_OFFSET),
            if_equal(machine.audit, "native"),
            if_equal(machine.foreign_audit, "foreign"),
            end_with(_ABSENT),
            "native",
            load(NR_OFFSET),
            *([if_at_least(X32_BIT, "x32")] if machine.x32 else []),
            if_equal(machine.socket, "socket"),
            if_equal(IO_URING_SETUP, "absent"),
            end_with(ALLOW),
            *_by_family(),
            *_x32(machine),
            *_foreign(machine),
            "absent",
            end_with(_ABSENT),
        ]
    )


def _by_family() -> list[Instruction | str]:
    return [
        "socket",
        load(FIRST_ARGUMENT_OFFSET),
        *(if_equal(int(family), "ask") for family in BROKERED_FAMILIES),
        *(if_equal(int(family), "local") for family in LOCAL_FAMILIES),
        end_with(_NO_FAMILY),
        "ask",
        end_with(NOTIFY),
        "local",
        end_with(ALLOW),
    ]


def _x32(machine: Machine) -> list[Instruction | str]:
    numbers = (X32_BIT | machine.socket, X32_BIT | IO_URING_SETUP)
    return ["x32", *(if_equal(number, "absent") for number in numbers), end_with(ALLOW)] if machine.x32 else []


def _foreign(machine: Machine) -> list[Instruction | str]:
    program: list[Instruction | str] = ["foreign", load(NR_OFFSET)]
    program += [if_equal(number, "absent") for number in (machine.foreign_socket, IO_URING_SETUP)]
    if machine.foreign_socketcall < 0:
        return [*program, end_with(ALLOW)]
    program += [if_equal(machine.foreign_socketcall, "socketcall"), end_with(ALLOW)]
    return [
        *program,
        "socketcall",
        load(FIRST_ARGUMENT_OFFSET),
        if_equal(SOCKETCALL_SOCKET, "absent"),
        end_with(ALLOW),
    ]
