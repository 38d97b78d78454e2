"""What to do about a refusal of the broker. Pure; loaded when there is one."""

from __future__ import annotations

from ..errors import AccessDeniedError, NamespaceNotFoundError


def advice(error: OSError) -> str:
    """Give what is to be put behind the reason; "" where that says it all."""
    if isinstance(error, AccessDeniedError):
        # A path is opened here, and what is missing is not a grant.
        return "; nsbroker-get list shows what you may use" if error.filename is None else "; the process must be yours"
    if isinstance(error, NamespaceNotFoundError) and error.filename is None:
        return "; nsbroker-get list shows which there are, and --wait SECONDS waits for one"
    return ""
