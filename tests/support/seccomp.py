"""Kernels and systems that allow less than this one: a seccomp filter without a listener, as container engines use."""

from __future__ import annotations

import ctypes

from nsbroker.supervise import kernel

_SET_MODE_FILTER = 1
_SOCK_FILTER_BYTES = 8


def install(program: bytes) -> None:
    """Put this process under a filter, for good."""
    machine = kernel.this_machine()
    assert machine is not None
    kernel.set_no_new_privs()
    argument = kernel._Program(len(program) // _SOCK_FILTER_BYTES, program)
    assert ctypes.CDLL(None).syscall(machine.seccomp, _SET_MODE_FILTER, 0, ctypes.byref(argument)) == 0
