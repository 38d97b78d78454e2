"""The reason why the broker can't be reached, in one line with the remedy."""

from __future__ import annotations

import errno
import os

from .errors import BrokerUnavailableError


def unreachable(path: str, error: OSError) -> BrokerUnavailableError:
    """Return the exception for a failed connect(2) to the broker's socket. It keeps the errno."""
    number = error.errno or errno.EINVAL
    if number in (errno.ENOENT, errno.ENOTDIR):
        text = f"no broker at {path}: start nsbrokerd, or set NSBROKER_SOCKET to the path of its socket"
    elif number == errno.ECONNREFUSED:
        text = f"no broker answers at {path}: start nsbrokerd"
    elif number in (errno.EACCES, errno.EPERM):
        text = f"no permission to use the broker at {path}: {_missing_permission(path)}"
    else:
        text = f"no broker at {path}: {error.strerror or error}"
    return BrokerUnavailableError(number, text)


def _missing_permission(path: str) -> str:
    try:
        gid = os.stat(path).st_gid
    except OSError:
        return "its directory is closed to this user"
    if gid in (os.getegid(), *os.getgroups()):
        return f"the group {_group_name(gid)} may not write to it"
    return f"this user must be in the group {_group_name(gid)} (and log in again after being added)"


def _group_name(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def too_late(path: str, timeout_s: float) -> BrokerUnavailableError:
    """Return the exception for a broker that did not answer in time."""
    text = f"the broker at {path} did not answer within {timeout_s:g} s: see its log"
    return BrokerUnavailableError(errno.ETIMEDOUT, text)


def hung_up(path: str) -> BrokerUnavailableError:
    """Return the exception for a broker that closed one connection after another without an answer.

    It turns a user away like this that opens too many connections. The first ones in each second get a reason.
    """
    text = (
        f"the broker at {path} closed the connection again and again without an answer: if this user opens very many"
        " connections, make many requests with one Client, or try again later; otherwise see the broker's log"
    )
    return BrokerUnavailableError(errno.ECONNRESET, text)
