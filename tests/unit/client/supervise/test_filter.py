"""The seccomp filter of `nsbroker-get run`, in a BPF interpreter: it asks about, refuses or allows each call."""

from __future__ import annotations

import errno
import socket
import struct
from functools import cache

import pytest

from nsbroker.supervise.bpf import assemble, end_with, if_at_least, if_equal, load
from nsbroker.supervise.filter import (
    ALLOW,
    BROKERED_FAMILIES,
    ERRNO,
    IO_URING_SETUP,
    LOCAL_FAMILIES,
    MACHINES,
    NOTIFY,
    X32_BIT,
    Machine,
    assemble_filter,
)

ABSENT = ERRNO | errno.ENOSYS
NO_FAMILY = ERRNO | errno.EAFNOSUPPORT
X86, ARM = MACHINES["x86_64"], MACHINES["aarch64"]
EVERY_CALL = range(1024)
"""More numbers than any table has."""

both = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())


def interpret(program: bytes, data: bytes) -> int:
    """Return the result of a program for the data. It knows the instructions of our filters."""
    instructions = list(struct.iter_unpack("=HBBI", program))
    loaded = place = 0
    while True:
        code, if_true, if_false, operand = instructions[place]
        place += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("=I", data, operand)
        elif code == 0x15:
            place += if_true if loaded == operand else if_false
        elif code == 0x35:
            place += if_true if loaded >= operand else if_false
        elif code == 0x06:
            return int(operand)
        else:
            raise AssertionError(f"instruction {place - 1} has the unknown code {code:#x}")


filter_of = cache(assemble_filter)


def ask(machine: Machine, number: int, first: int = 0, audit: int | None = None, rest: tuple[int, ...] = (2, 2)) -> int:
    """Return the action for a system call, given as `struct seccomp_data` of seccomp(2) with six arguments."""
    arguments = (first, *rest, 2, 2, 2)
    data = struct.pack("=IIQ6Q", number, machine.audit if audit is None else audit, 0xDEAD, *arguments)
    return interpret(filter_of(machine), data)


@both
def test_every_network_family_is_asked_about(machine: Machine) -> None:
    assert [int(family) for family in BROKERED_FAMILIES] == [2, 10, 16, 17]
    for family in BROKERED_FAMILIES:
        assert ask(machine, machine.socket, int(family)) == NOTIFY


@both
def test_local_families_stay(machine: Machine) -> None:
    """AF_UNIX, AF_ALG and AF_VSOCK."""
    assert [int(family) for family in LOCAL_FAMILIES] == [1, 38, 40]
    for family in LOCAL_FAMILIES:
        assert ask(machine, machine.socket, int(family)) == ALLOW


@both
def test_every_other_family_is_unknown(machine: Machine) -> None:
    """AF_SMC, AF_RDS, AF_XDP, others and those of later kernels would be in the caller's own namespace."""
    known = {int(family) for family in (*BROKERED_FAMILIES, *LOCAL_FAMILIES)}
    for family in [*range(256), 2**31 - 1, 2**32 - 1]:
        if family not in known:
            assert ask(machine, machine.socket, family) == NO_FAMILY


@both
def test_family_is_an_int_as_the_kernel_takes_it(machine: Machine) -> None:
    """socket(2) ignores the upper half of the register, so it must not hide a call."""
    assert ask(machine, machine.socket, 0xFFFFFFFF00000000 | socket.AF_INET) == NOTIFY
    assert ask(machine, machine.socket, 1 << 32 | socket.AF_UNIX) == ALLOW


ABOUT_INTERFACES = {
    "SIOCADDRT": 0x890B, "SIOCGIFNAME": 0x8910, "SIOCGIFCONF": 0x8912, "SIOCGIFFLAGS": 0x8913, "SIOCSIFFLAGS": 0x8914,
    "SIOCGIFADDR": 0x8915, "SIOCGIFHWADDR": 0x8927, "SIOCGIFINDEX": 0x8933, "SIOCETHTOOL": 0x8946, "SIOCGSKNS": 0x894C,
    "SIOCDARP": 0x8953, "SIOCGIFMAP": 0x8970, "SIOCGIFVLAN": 0x8982, "SIOCBONDENSLAVE": 0x8990, "SIOCBRADDBR": 0x89A0,
    "SIOCSHWTSTAMP": 0x89B0, "SIOCDEVPRIVATE": 0x89F0, "SIOCDEVPRIVATE + 15": 0x89FF, "SIOCSIWCOMMIT": 0x8B00,
    "SIOCGIWNAME": 0x8B01, "SIOCIWLASTPRIV": 0x8BFF, "TUNSETIFF": 0x400454CA,
}  # fmt: skip
NOT_ABOUT_INTERFACES = {
    "FIONREAD": 0x541B, "FIONBIO": 0x5421, "SIOCOUTQ": 0x5411, "FIOCLEX": 0x5451, "TCGETS": 0x5401,
    "SIOCATMARK": 0x8905, "SIOCGSTAMP": 0x8906, "SIOCGSTAMPNS_NEW": 0x80108907, "SIOCOUTQNSD": 0x894B,
    "SIOCPROTOPRIVATE": 0x89E0,
    "SIOCPROTOPRIVATE + 15": 0x89EF, "TUNGETIFF": 0x800454D2, "past all": 0x8C00, "first": 0, "last": 0xFFFFFFFF,
}  # fmt: skip
"""Source: include/uapi/linux/sockios.h, asm-generic/ioctls.h, linux/wireless.h, linux/if_tun.h."""


@both
def test_requests_about_interfaces_are_asked_about(machine: Machine) -> None:
    """For every socket. The upper half of the register means nothing."""
    for name, request in ABOUT_INTERFACES.items():
        assert ask(machine, machine.ioctl, 3, rest=(request, 2)) == NOTIFY, name
        assert ask(machine, machine.ioctl, 3, rest=(1 << 32 | request, 2)) == NOTIFY, name


@both
def test_other_requests_run_at_full_speed(machine: Machine) -> None:
    for name, request in NOT_ABOUT_INTERFACES.items():
        assert ask(machine, machine.ioctl, 3, rest=(request, 2)) == ALLOW, name


def test_other_instruction_sets_can_not_ask_about_interfaces() -> None:
    """The supervisor reads the registers of the machine's own calls only."""
    for name, request in ABOUT_INTERFACES.items():
        for machine, number, audit in (
            (X86, X32_BIT | 514, X86.audit),
            (X86, 54, X86.foreign_audit),
            (ARM, 54, ARM.foreign_audit),
        ):
            assert ask(machine, number, 3, audit, (request, 2)) == ABSENT, name
            assert ask(machine, number, 3, audit, (0x541B, 2)) == ALLOW


@both
def test_options_with_a_flag_are_asked_about(machine: Machine) -> None:
    """SO_MARK, IP_TRANSPARENT and IPV6_TRANSPARENT, and no other option."""
    asked = {
        (level, name)
        for level in range(300)
        for name in range(100)
        if ask(machine, machine.setsockopt, 3, rest=(level, name)) == NOTIFY
    }
    assert asked == {(1, 36), (0, 19), (41, 75)}


@both
def test_binding_of_ip_addresses_is_looked_at(machine: Machine) -> None:
    """Unix, netlink and packet sockets have addresses of other lengths. Those as long as an IP address do no harm."""
    asked = [size for size in range(200) if ask(machine, machine.bind, 3, rest=(0, size)) == NOTIFY]
    assert asked == [16, 28, 128]


@both
def test_no_other_call_is_touched(machine: Machine) -> None:
    """io_uring is the exception, because its rings make sockets without a system call."""
    touched = {number for number in EVERY_CALL if ask(machine, number, int(socket.AF_INET)) != ALLOW}
    assert touched == {machine.socket, IO_URING_SETUP}
    assert ask(machine, IO_URING_SETUP) == ABSENT


def test_the_numbers_are_the_kernels() -> None:
    """Source: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h."""
    assert (X86.socket, X86.seccomp, ARM.socket, ARM.seccomp, IO_URING_SETUP) == (41, 317, 198, 277, 425)
    assert (X86.ioctl, X86.setsockopt, ARM.ioctl, ARM.setsockopt) == (16, 54, 29, 208)
    assert (X86.bind, ARM.bind) == (49, 200)


def test_32_bit_x86_has_all_calls_but_those_that_make_sockets() -> None:
    """By int 0x80, from any 64-bit program too: socket, socketcall(SYS_SOCKET), io_uring_setup."""
    i386 = 0x40000003
    touched = {number for number in EVERY_CALL if ask(X86, number, 1, i386) != ALLOW}
    assert touched == {359, 102, 425}
    assert [ask(X86, number, 1, i386) for number in touched] == [ABSENT] * 3
    for other_socketcall in range(2, 21):
        assert ask(X86, 102, other_socketcall, i386) == ALLOW


def test_32_bit_arm_has_all_calls_but_those_that_make_sockets() -> None:
    touched = {number for number in EVERY_CALL if ask(ARM, number, 1, 0x40000028) != ALLOW}
    assert touched == {281, 425}


def test_x32_has_all_calls_but_those_that_make_sockets() -> None:
    touched = {number for number in EVERY_CALL if ask(X86, X32_BIT | number, 2) != ALLOW}
    assert touched == {41, 425}
    assert [ask(X86, X32_BIT | number, 2) for number in touched] == [ABSENT] * 2


@both
def test_instruction_set_that_nobody_knows_has_no_calls(machine: Machine) -> None:
    known = {machine.audit, machine.foreign_audit}
    for audit in {0, 0xC000003E, 0xC00000B7, 0x40000003, 0x40000028, 0xFFFFFFFF} - known:
        assert {ask(machine, number, 1, audit) for number in EVERY_CALL} == {ABSENT}


def test_program_fits_the_kernels_limit() -> None:
    for machine in MACHINES.values():
        assert len(assemble_filter(machine)) % 8 == 0
        assert len(assemble_filter(machine)) // 8 <= 4096  # BPF_MAXINSNS


def test_assembler_counts_distances() -> None:
    program = assemble(
        [load(0), if_equal(1, "one"), if_at_least(7, "many"), end_with(10), "one", end_with(11), "many", end_with(12)]
    )
    results = {number: interpret(program, struct.pack("=I", number)) for number in (0, 1, 6, 7, 2**32 - 1)}
    assert results == {0: 10, 1: 11, 6: 10, 7: 12, 2**32 - 1: 12}


@pytest.mark.parametrize(
    "program",
    [
        [if_equal(1, "nowhere"), end_with(0)],
        ["back", load(0), if_equal(1, "back"), end_with(0)],
        [if_equal(1, "far"), *[load(0)] * 256, "far", end_with(0)],
    ],
)
def test_assembler_refuses_what_the_kernel_would_run_otherwise(program: list[object]) -> None:
    with pytest.raises(ValueError, match="can't jump to"):
        assemble(program)  # type: ignore[arg-type]
