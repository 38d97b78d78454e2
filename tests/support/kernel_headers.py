"""Compares numbers with the kernel's headers of several machines. gcc does it without running a program."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Headers(NamedTuple):
    """The headers of one machine, and what makes a gcc of x86-64 read them as that machine's."""

    package: str
    folders: tuple[str, ...]
    flags: tuple[str, ...] = ("-m64",)


_X86, _X86_FOLDERS = "linux-libc-dev:amd64", ("/usr/include/x86_64-linux-gnu", "/usr/include")
HEADERS = {
    "x86_64": Headers(_X86, _X86_FOLDERS),
    "x32": Headers(_X86, _X86_FOLDERS, ("-mx32",)),
    "i686": Headers(_X86, _X86_FOLDERS, ("-m32",)),
    "aarch64": Headers("linux-libc-dev-arm64-cross", ("/usr/aarch64-linux-gnu/include",)),
    "armv7l": Headers(
        "linux-libc-dev-armhf-cross", ("/usr/arm-linux-gnueabihf/include",), ("-m32", "-D__ARM_EABI__", "-U__x86_64__")
    ),
}
"""By `os.uname().machine`, where there is one."""

SINCE = {"NS_GET_ID": (6, 18), "SOCKET_URING_OP_SETSOCKOPT": (6, 7)}
"""Names that older headers lack, and the first Linux that has them."""

LINUX = (
    "audit bpf bpf_common btf capability fcntl filter if if_packet if_tun in in6 inet_diag io_uring ip ipv6 magic "
    "mount net netlink netlink_diag nsfs prctl rtnetlink sched sctp seccomp sock_diag socket sockios stat tcp "
    "unix_diag version wireless"
)
"""Of the folder linux."""
INCLUDED = [
    "sys/socket.h",
    *("asm/signal.h", "asm/socket.h", "asm/unistd.h"),
    *(f"linux/{name}.h" for name in LINUX.split()),
]
NOT_OF_THE_KERNEL = """
#pragma once
#include <linux/socket.h>
#define offsetof __builtin_offsetof
#define sockaddr_storage __kernel_sockaddr_storage
#define MSG_FIN 0x200
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned uint32_t;
struct sockaddr { unsigned short sa_family; char sa_data[14]; };
"""
"""What the kernel's headers need of the C library's."""


class Claim(NamedTuple):
    """A number of the project, the expression of C that has the same value, and where the project has it."""

    expression: str
    value: int
    place: str

    def as_c(self) -> str:
        """Return the line that does not compile if the claim is wrong."""
        text = f"{self.place}: {self.expression} is not {self.value:#x}"
        line = f'_Static_assert((unsigned)({self.expression}) == (unsigned){self.value}, "{text}");'
        if self.expression not in SINCE:
            return line
        major, minor = SINCE[self.expression]
        return f"#if LINUX_VERSION_CODE >= KERNEL_VERSION({major}, {minor}, 0)\n{line}\n#endif"


def compile_with(machine: str, lines: list[str], folder: Path) -> list[str]:
    """Return the errors of gcc about these lines, with the headers of the machine."""
    headers = HEADERS[machine]
    if platform.machine() != "x86_64" or shutil.which("gcc") is None:
        pytest.skip("there is no gcc of x86-64")
    for place in headers.folders:
        if not Path(place, "linux/version.h").exists() and not Path(place, "asm/unistd.h").exists():
            pytest.skip(f"there are no headers of Linux for this machine (package {headers.package} of Debian)")
    (folder / "sys").mkdir()
    (folder / "sys/socket.h").write_text(NOT_OF_THE_KERNEL)
    (folder / "stddef.h").touch()
    source = folder / "numbers.c"
    source.write_text("\n".join([*(f"#include <{name}>" for name in INCLUDED), *lines, ""]))
    command = ["gcc", *headers.flags, "-fsyntax-only", "-w", "-nostdinc", "-isystem", str(folder)]
    command += [word for place in headers.folders for word in ("-isystem", place)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    return [line for line in done.stderr.splitlines() if "error: " in line]
