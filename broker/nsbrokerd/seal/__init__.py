"""The seal: limits that the kernel enforces on a socket after it was handed over. Imports only namespaces and policy.

`install` returns a Seal for the broker, and `why_unavailable` the reason why this host can't enforce limits. Commands
need no broker: `live_sockets` lists sealed sockets, and `revoke` stops them.
"""

from .installing import install, is_installed, why_unavailable
from .live import live_sockets, why_not_listed
from .maps import why_no_place, why_short_lived
from .own_group import is_writable_by_owner
from .programs.iterator import LiveSocket, Selection
from .revoking import abort_stopped, revoke, why_not_stopped
from .running import Seal, SealError, UnsealedError, limited_kinds
from .wall import WallError, detach_in_child, missing_hooks, why_no_second_wall

__all__ = [
    "LiveSocket",
    "Seal",
    "SealError",
    "Selection",
    "UnsealedError",
    "WallError",
    "abort_stopped",
    "detach_in_child",
    "install",
    "is_installed",
    "is_writable_by_owner",
    "limited_kinds",
    "live_sockets",
    "missing_hooks",
    "revoke",
    "why_no_place",
    "why_no_second_wall",
    "why_not_listed",
    "why_not_stopped",
    "why_short_lived",
    "why_unavailable",
]
