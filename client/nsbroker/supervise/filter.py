"""The seccomp filter: which system calls go to the supervisor, and which fail. Pure.

Four calls go to the supervisor:

* socket(2) of a network family,
* ioctl(2) about interfaces, since the C library asks for their names and numbers on a Unix socket, which would answer
  for the caller's own namespace,
* setsockopt(2) of an option for which `run` has a flag,
* bind(2) of an address as long as an IP address, since programs do not name a low port that they may not bind.

The other ways to a socket fail with ENOSYS: io_uring, whose rings make sockets without a system call, and the calls of
the other instruction sets of the processor. socket(2) of a family that is neither local nor the broker's fails with
EAFNOSUPPORT, since it would be in the caller's own namespace.
Source: seccomp(2), the syscall tables of Linux, include/uapi/linux/audit.h, linux/sockios.h, linux/wireless.h.
"""

from __future__ import annotations

import errno
import socket

from ..wire.record import Record
from .bpf import Instruction, assemble, end_with, if_at_least, if_equal, load
from .calls import OPTIONS_WITH_FLAGS

ALLOW = 0x7FFF0000
NOTIFY = 0x7FC00000
ERRNO = 0x00050000

NR_OFFSET = 0
ARCH_OFFSET = 4
FIRST_ARGUMENT_OFFSET = 16
"""The low half of args[0] in struct seccomp_data, where the kernel reads an int. All machines are little-endian."""
SECOND_ARGUMENT_OFFSET = 24
THIRD_ARGUMENT_OFFSET = 32

IO_URING_SETUP = 425
"""The same number on all machines."""
X32_BIT = 0x40000000
SOCKETCALL_SOCKET = 1
"""SYS_SOCKET, as socketcall(2) has it."""

BROKERED_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET)
LOCAL_FAMILIES = (socket.AF_UNIX, socket.AF_ALG, socket.AF_VSOCK)
"""Families without a network. AF_VSOCK connects a host and its virtual machines."""

INTERFACE_REQUESTS = (range(0x890B, 0x89E0), range(0x89F0, 0x8A00), range(0x8B00, 0x8C00))
"""The requests of ioctl(2) that the kernel answers for the namespace of the socket, whatever its family: addresses,
routes, interfaces, bridges, VLANs, bonds and time stamps, requests private to a driver, and wireless networks. Between
the first two are those private to a protocol."""
SIOCOUTQNSD = 0x894B
"""A request about the socket itself, among those about interfaces."""
TUNSETIFF = 0x400454CA
"""It makes or opens a tun or tap device in the namespace of the caller."""

ADDRESS_SIZES = (16, 28, 128)
"""Lengths with which programs bind IP addresses: of sockaddr_in, sockaddr_in6 and sockaddr_storage."""


class Machine(Record):
    """An instruction set with its system calls, and the second instruction set that the same kernel runs.

    Attributes:
        audit: its AUDIT_ARCH_ number.
        seccomp: the number of seccomp(2).
        socket: the number of socket(2).
        ioctl: the number of ioctl(2).
        setsockopt: the number of setsockopt(2).
        bind: the number of bind(2).
        x32_ioctl: the number of ioctl(2) with `X32_BIT` (-1: there are no such system calls).
        foreign_audit: the AUDIT_ARCH_ number of the second instruction set.
        foreign_socket: the number of its socket(2).
        foreign_socketcall: the number of its socketcall(2) (-1: there is no such call).
        foreign_ioctl: the number of its ioctl(2).
    """

    audit: int
    seccomp: int
    socket: int
    ioctl: int
    setsockopt: int
    bind: int
    x32_ioctl: int
    foreign_audit: int
    foreign_socket: int
    foreign_socketcall: int
    foreign_ioctl: int


MACHINES = {
    "x86_64": Machine(0xC000003E, 317, 41, 16, 54, 49, 514, 0x40000003, 359, 102, 54),
    "aarch64": Machine(0xC00000B7, 277, 198, 29, 208, 200, -1, 0x40000028, 281, -1, 54),
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
            *([if_at_least(X32_BIT, "x32")] if machine.x32_ioctl >= 0 else []),
            if_equal(machine.socket, "socket"),
            if_equal(machine.ioctl, "ioctl"),
            if_equal(machine.setsockopt, "setsockopt"),
            if_equal(machine.bind, "bind"),
            if_equal(IO_URING_SETUP, "absent"),
            end_with(ALLOW),
            "ioctl",
            *_about_interfaces("ask"),
            "setsockopt",
            *_of_privileged_options(),
            "bind",
            load(THIRD_ARGUMENT_OFFSET),
            *(if_equal(size, "ask") for size in ADDRESS_SIZES),
            end_with(ALLOW),
            *_by_family(),
            *_x32(machine),
            *_foreign(machine),
            "other ioctl",
            *_about_interfaces("absent"),
            "absent",
            end_with(_ABSENT),
        ]
    )


def _about_interfaces(label: str) -> list[Instruction | str]:
    """Return a program that jumps to `label` if an ioctl(2) is about interfaces, and otherwise allows it."""
    other = f"not {label}"
    program: list[Instruction | str] = [load(SECOND_ARGUMENT_OFFSET)]
    program += [if_equal(TUNSETIFF, label), if_equal(SIOCOUTQNSD, other)]
    for requests in reversed(INTERFACE_REQUESTS):
        program += [if_at_least(requests.stop, other), if_at_least(requests.start, label)]
    return [*program, other, end_with(ALLOW)]


def _of_privileged_options() -> list[Instruction | str]:
    program: list[Instruction | str] = [load(SECOND_ARGUMENT_OFFSET)]
    program += [if_equal(level, f"level {level}") for level, _ in OPTIONS_WITH_FLAGS]
    program += [end_with(ALLOW)]
    for level, name in OPTIONS_WITH_FLAGS:
        program += [f"level {level}", load(THIRD_ARGUMENT_OFFSET), if_equal(name, "ask"), end_with(ALLOW)]
    return program


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
    if machine.x32_ioctl < 0:
        return []
    numbers = (X32_BIT | machine.socket, X32_BIT | IO_URING_SETUP)
    program: list[Instruction | str] = ["x32", *(if_equal(number, "absent") for number in numbers)]
    return [*program, if_equal(X32_BIT | machine.x32_ioctl, "other ioctl"), end_with(ALLOW)]


def _foreign(machine: Machine) -> list[Instruction | str]:
    program: list[Instruction | str] = ["foreign", load(NR_OFFSET)]
    program += [if_equal(number, "absent") for number in (machine.foreign_socket, IO_URING_SETUP)]
    program += [if_equal(machine.foreign_ioctl, "other ioctl")]
    if machine.foreign_socketcall < 0:
        return [*program, end_with(ALLOW)]
    return [
        *program,
        if_equal(machine.foreign_socketcall, "socketcall"),
        end_with(ALLOW),
        "socketcall",
        load(FIRST_ARGUMENT_OFFSET),
        if_equal(SOCKETCALL_SOCKET, "absent"),
        end_with(ALLOW),
    ]
