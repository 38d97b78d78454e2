"""Kinds of sockets that this host's kernel can't make: probed at each load of the policy."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping

from ..policy import Policy
from ..policy.kinds import Triple, triples_of

_UNSUPPORTED = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EAFNOSUPPORT)


def probe_kinds(policy: Policy) -> Mapping[Triple, int]:
    """Try each kind that a grant names, in the broker's own namespace, and return the errno of each that fails.

    For a missing protocol the kernel looks for a module, which can take hundreds of milliseconds. So the broker asks
    here, and never while it serves clients. The kernel loads only modules that a grant needs.
    """
    kinds = {kind for grant in policy.grants for kind in grant.kinds}
    return {triple: number for kind in kinds for triple in triples_of(kind) if (number := _probe(triple))}


def why_unsupported(kind: str, number: int) -> str:
    """Return the reason for a refusal. For SCTP it is usually a module that the distribution has in another package."""
    missing = "SCTP: load the module sctp, then reload nsbrokerd" if kind == "sctp" else f"{kind} sockets"
    return f"{os.strerror(number)}: this kernel has no {missing}"


def with_advice(kind: str, error: OSError) -> OSError:
    """Return the error of socket(2). For a ping socket, it names the sysctl that by default admits no group."""
    if kind == "icmp" and error.errno == errno.EACCES:
        sysctl = "net.ipv4.ping_group_range of the namespace must include 0, the broker's group"
        return OSError(error.errno, f"{error.strerror}: {sysctl}")
    return error


def _probe(triple: Triple) -> int:
    try:
        socket.SocketType(*triple).close()
    except OSError as error:
        return error.errno if error.errno in _UNSUPPORTED else 0
    return 0
