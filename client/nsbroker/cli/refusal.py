"""What to do about a refusal of the broker. Pure; loaded when there is one."""

from __future__ import annotations

from ..link.errors import AccessDeniedError, NamespaceNotFoundError
from ..supervise.failures import SEE_LIST


def advice(error: OSError, namespace: str) -> str:
    """Give what is to be put behind the reason, for a namespace by its name or path; "" where that says it all."""
    if isinstance(error, AccessDeniedError):
        # A path is opened here, and what is missing is not a grant.
        return SEE_LIST if error.filename is None else "; the process must be yours"
    if isinstance(error, NamespaceNotFoundError) and error.filename is None:
        if "/" in namespace:
            return ": give the path of one, such as /proc/PID/ns/net"
        return "; nsbroker-get list shows which there are, and --wait SECONDS waits for one"
    return ""
