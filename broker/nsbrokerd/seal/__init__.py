"""The seal: limits that the kernel enforces on a socket after it was handed over. Imports only namespaces and policy.

`install` returns a Seal for the broker, and `why_unavailable` the reason why this host can't enforce limits. Commands
need no broker: `live_sockets` lists sealed sockets, and `revoke` stops them.
"""

from .cgroup import is_writable_by_owner
from .installing import Seal, SealError, UnsealedError, install, is_installed, why_unavailable
from .live import live_sockets, revoke
from .programs.iterator import LiveSocket, Selection

__all__ = [
    "LiveSocket",
    "Seal",
    "SealError",
    "Selection",
    "UnsealedError",
    "install",
    "is_installed",
    "is_writable_by_owner",
    "live_sockets",
    "revoke",
    "why_unavailable",
]
