"""The seal: limits that travel with a socket after it was handed over, enforced by the kernel.

`install` gives a Seal for the broker; `why_unavailable` says what is missing on this host. For commands, beside or
without a broker: `live_sockets` lists what was sealed, and `revoke` takes it back.
"""

from .cgroup import is_writable_by_owner
from .installing import Seal, SealError, UnsealedError, install, is_installed, why_unavailable
from .iterator import Selection
from .maps import DEFAULT_DIRECTORY
from .sockets import LiveSocket, live_sockets, revoke

__all__ = [
    "DEFAULT_DIRECTORY",
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
