"""This kernel's hooks and structs, as it describes them itself. Other kernels have them elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .btf import KernelTypes
from .programs.calls import HOOKS
from .programs.iterator import FIELDS

_KERNEL_TYPES = Path("/sys/kernel/btf/vmlinux")
_ITERATOR = "bpf_iter_bpf_sk_storage_map"

_STRUCTS = {
    "socket": ("sk",),
    "io_uring_cmd": ("file", "cmd_op"),
    "sk_buff": ("head", "transport_header"),
    "sctp_sock": ("ep",),
    "sctp_endpoint": ("asocs",),
    "sctp_transport": ("saddr",),
}

_PEER = ("transport_count", "primary_addr", "primary_path")

_X32_BIT = 0x40000000
"""In the number of a system call. Source: arch/x86/include/uapi/asm/unistd.h."""


class KernelLayout(NamedTuple):
    """Offsets of fields in bytes, and the numbers of functions: of the iterator over a map, and of each hook."""

    fields: Mapping[str, int]
    iterator: int
    hooks: Mapping[str, int]


@cache
def kernel_layout() -> KernelLayout:
    """Read the description. This takes 0.1 s.

    Raises:
        OSError: the kernel has none, or lacks something that all programs need.
    """
    types = KernelTypes(_KERNEL_TYPES.read_bytes())
    fields = types.offsets("sock_common", [name for name in FIELDS if name.startswith("skc_")])
    fields |= types.offsets("sock", [name for name in FIELDS if name.startswith("sk_")])
    fields |= types.offsets("sock_common", ("skc_bound_dev_if",))
    fields["sk_lock.owned"] = _lock_owner(types)
    for struct, members in _STRUCTS.items():
        fields |= _offsets_if_there(types, struct, members)
    fields |= _compat_fields(types)
    fields |= _sctp_fields(types)
    hooks = {}
    for name, hook in HOOKS.items():
        try:
            hooks[name] = types.function(hook.function)
        except OSError:
            continue  # an older kernel
    return KernelLayout(fields, types.function(_ITERATOR), hooks)


def _lock_owner(types: KernelTypes) -> int:
    """Return where a socket says whether a process holds its lock."""
    lock = types.offsets("sock", ("sk_lock",))["sk_lock"]
    return lock + types.inner_offsets("sock", "sk_lock", ("owned",))["owned"]


def _offsets_if_there(types: KernelTypes, struct: str, members: tuple[str, ...]) -> dict[str, int]:
    try:
        return {f"{struct}.{name}": offset for name, offset in types.offsets(struct, members).items()}
    except OSError:
        return {}


def _sctp_fields(types: KernelTypes) -> dict[str, int]:
    """Return where an SCTP association has the fields that programs read, some of them in structs of its own."""
    outer = _offsets_if_there(types, "sctp_association", ("base", "asocs", "state", "c", "peer"))
    if not outer:
        return {}
    base, asocs, state, cookie, peer = outer.values()
    common = types.offsets("sctp_ep_common", ("sk", "bind_addr"))
    inner = {"sk": base + common["sk"], "asocs": asocs, "state": state}
    inner["port"] = base + common["bind_addr"] + types.offsets("sctp_bind_addr", ("port",))["port"]
    for name, offset in types.offsets("sctp_cookie", ("my_vtag", "my_ttag", "peer_addr")).items():
        inner[name] = cookie + offset
    for name, offset in types.inner_offsets("sctp_association", "peer", _PEER).items():
        inner[name] = peer + offset
    return {f"asoc.{name}": offset for name, offset in inner.items()}


def _compat_fields(types: KernelTypes) -> dict[str, int]:
    """Return where a task says that it is in a system call of 32 bits. Source: in_compat_syscall of each machine."""
    machine = os.uname().machine
    if machine not in ("x86_64", "aarch64"):
        return {}
    base = types.offsets("task_struct", ("thread_info",))["thread_info"]
    if machine == "aarch64":
        tif_32bit = 22
        return {"compat.word": base + types.offsets("thread_info", ("flags",))["flags"], "compat.bit": 1 << tif_32bit}
    ts_compat = 2
    return {
        "compat.word": base + types.offsets("thread_info", ("status",))["status"],
        "compat.bit": ts_compat,
        "x32.word": types.offsets("pt_regs", ("orig_ax",))["orig_ax"],
        "x32.bit": _X32_BIT,
    }
