"""What the program is told when its socket could not be had: an errno, and one line for people. Pure."""

from __future__ import annotations

import errno

from ..link.errors import AccessDeniedError, BrokerUnavailableError, Error

SEE_LIST = "; nsbroker-get list shows what you may use"
"""Goes behind what the policy does not grant."""


def errno_of(error: OSError) -> int:
    """Give the errno that the program's socket(2) fails with.

    What the kernel refused in the namespace keeps its errno, and a refusal by policy is EACCES. For the broker's own
    failures it is ENETDOWN: socket(2) has no such thing as "no such file", and programs take it for the end of the
    attempt, not of everything.
    """
    if isinstance(error, AccessDeniedError):
        return errno.EACCES
    if isinstance(error, BrokerUnavailableError) and error.errno == errno.EAGAIN:
        return errno.ENOBUFS
    if isinstance(error, Error):
        return errno.ENETDOWN
    return error.errno or errno.EIO


def line_of(error: OSError, words: str) -> str | None:
    """Give the line that says why; None where the errno says it all.

    Args:
        error: what the call failed by.
        words: those of strerror(3) for its errno. The broker adds to them which module is missing, for instance.
    """
    if isinstance(error, Error):
        return (error.strerror or str(error)) + (SEE_LIST if isinstance(error, AccessDeniedError) else "")
    return None if error.strerror == words else error.strerror
