"""Tries the steps of an attacker who controls the broker, and the broker's own work, and writes the results.

systemd starts it in the broker's sandbox. It uses only the standard library.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import socket
import sys
import time
from collections.abc import Callable

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
SYS_BPF, SYS_INIT_MODULE = 321, 175  # x86_64
PTRACE_ATTACH = 16
BPF_MAP_TYPE_ARRAY = 2
PROT_RWX = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
GROUP = "/sys/fs/cgroup/system.slice/nsbrokerd-probe.service"
PINS = "/sys/fs/bpf/nsbrokerd"


def check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(path: str, text: str = "") -> None:
    with open(path, "w") as file:
        file.write(text)


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def make_executable() -> None:
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    check(libc.mprotect(address, mmap.PAGESIZE, PROT_RWX))


def enter_network_namespace() -> None:
    with open("/proc/self/ns/net") as home:
        check(libc.setns(home.fileno(), CLONE_NEWNET))


def make_directory(path: str) -> None:
    os.mkdir(path)
    os.rmdir(path)


def make_map() -> None:
    attributes = (ctypes.c_uint32 * 18)(BPF_MAP_TYPE_ARRAY, 4, 4, 1)
    check(libc.syscall(SYS_BPF, 0, ctypes.byref(attributes), ctypes.sizeof(attributes)))


def give_away() -> None:
    os.chown("/run/nsbroker/breakout.py", 65534, 65534)


def all_families() -> None:
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET):
        socket.socket(family, socket.SOCK_DGRAM).close()


TRIES: dict[str, Callable[[], object]] = {
    "map memory that is writable and executable": lambda: mmap.mmap(-1, mmap.PAGESIZE, prot=PROT_RWX),
    "make memory executable": make_executable,
    "enter a user namespace": lambda: check(libc.unshare(CLONE_NEWUSER)),
    "enter a mount namespace": lambda: check(libc.unshare(CLONE_NEWNS)),
    "mount a file system": lambda: check(libc.mount(b"none", b"/run/nsbroker", b"tmpfs", 0, None)),
    "open a socket of another family": lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM),
    "trace a process": lambda: check(libc.ptrace(PTRACE_ATTACH, 1, 0, 0)),
    "load a module": lambda: check(libc.syscall(SYS_INIT_MODULE, b"", 0, b"")),
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "give a file to another user": give_away,
    "write to /etc": lambda: write("/etc/nsbroker/breakout"),
    "write to /run": lambda: write("/run/breakout"),
    "write to /proc/sys": lambda: write("/proc/sys/kernel/hostname", "breakout"),
    "write to the control group of all": lambda: make_directory("/sys/fs/cgroup/breakout"),
    "write to the pins of all": lambda: make_directory("/sys/fs/bpf/breakout"),
    "read another user's file": lambda: read(others_file),
    "see a home directory": lambda: os.listdir("/root"),
    "open a disk": lambda: read("/dev/vda"),
    "enter a network namespace": enter_network_namespace,
    "make a control group of its own": lambda: make_directory(f"{GROUP}/own"),
    "pin below its own directory": lambda: make_directory(f"{PINS}/own"),
    "make a bpf map": make_map,
    "write to /run/nsbroker": lambda: write("/run/nsbroker/breakout"),
    "write to the directory of the audit": lambda: write("/var/log/nsbroker/breakout"),
    "make sockets of all families of the policy": all_families,
}


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


if __name__ == "__main__":
    result, others_file = sys.argv[1:]
    results = {what: outcome(attempt) for what, attempt in TRIES.items()}
    write(result, json.dumps(results))
