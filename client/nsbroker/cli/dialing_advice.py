"""What to say, and to advise, when a connection can't be made: one line."""

from __future__ import annotations

import errno
import os
import socket

from .dialing import SourceError, Target
from .failure import REFUSED, FailureError

_ADVICE = {
    errno.ECONNREFUSED: "nothing listens there, so start the server, or check address and port",
    errno.EHOSTUNREACH: "that host does not answer, so check the address, and that the host is up",
    errno.ENETUNREACH: "the namespace has no route there, see nsbroker-get {0} -- ip route",
    errno.EADDRNOTAVAIL: "the namespace has no such address, see nsbroker-get {0} -- ip -brief address",
    errno.ETIMEDOUT: "no answer, so check the address, and the firewalls on the way",
    errno.EPERM: "the limit of your grant or a firewall forbids it; nsbroker-get list shows the limit",
    errno.EACCES: "the kernel allows it to root alone, so choose another address",
    errno.ENODEV: "the namespace has no such interface, see nsbroker-get {0} -- ip -brief link",
}


def failure_of(namespace: str, target: Target, error: OSError | ExceptionGroup[OSError]) -> FailureError:
    """Make the failure for what `dial` raised, if not by the broker."""
    errors = list(error.exceptions) if isinstance(error, ExceptionGroup) else [error]
    what = f"can't connect to {target.host} port {target.port}"
    if target.source is not None and all(_is_about_source(each) for each in errors):
        what = f"can't connect from {target.source}"
    # The same reason once, in order.
    reasons = dict.fromkeys(_reason(namespace, target, each) for each in errors)
    return FailureError(f"{what}: {'; '.join(reasons)}", REFUSED)


def _is_about_source(error: BaseException) -> bool:
    return isinstance(error, SourceError) or getattr(error, "errno", None) == errno.EADDRNOTAVAIL


def _reason(namespace: str, target: Target, error: BaseException) -> str:
    number = getattr(error, "errno", None) or 0
    if isinstance(error, TimeoutError) and not number:
        return f"timed out after {target.limit_s:g} s (-w): {_ADVICE[errno.ETIMEDOUT]}"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, socket.gaierror):
        return ": ".join([text, *getattr(error, "__notes__", [])[:1]])
    return f"{os.strerror(number)}: {_ADVICE[number].format(namespace)}" if number in _ADVICE else text
