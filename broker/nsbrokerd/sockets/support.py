"""What this host's kernel can do, asked once at each load of the policy."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping

from ..policy import Policy
from ..policy.kinds import Triple, triples_of

_UNSUPPORTED = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EAFNOSUPPORT)


def probe_kinds(policy: Policy) -> Mapping[Triple, int]:
    """Try each kind that a grant names, in the own namespace; gives the errno of what the kernel does not have.

    A kernel looks for a module of a protocol that it does not have, which can take hundreds of milliseconds: so this
    happens here, and never while clients are served. It loads only modules that a grant asks for.
    """
    kinds = {kind for grant in policy.grants for kind in grant.kinds}
    return {triple: number for kind in kinds for triple in triples_of(kind) if (number := _probe(triple))}


def why_unsupported(kind: str, number: int) -> str:
    """Say what is missing: for SCTP, most often a module that the distribution has in a package of its own."""
    what = "SCTP: load the module sctp, then reload nsbrokerd" if kind == "sctp" else f"{kind} sockets"
    return f"{os.strerror(number)}: this kernel has no {what}"


def with_advice(kind: str, error: OSError) -> OSError:
    """Give what socket(2) failed by, and for ping sockets which sysctl is in the way: by default it admits nobody."""
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
