"""`socket.gaierror` with the codes and texts of gai_strerror(3)."""

from __future__ import annotations

import socket

# Not all of these are in the socket module of every Python on Linux. Source: <netdb.h>.
EAI_BADFLAGS = -1
EAI_NONAME = -2
EAI_AGAIN = -3
EAI_FAIL = -4
EAI_NODATA = -5
EAI_FAMILY = -6
EAI_SOCKTYPE = -7
EAI_SERVICE = -8
EAI_ADDRFAMILY = -9

_TEXTS = {
    EAI_BADFLAGS: "Bad value for ai_flags",
    EAI_NONAME: "Name or service not known",
    EAI_AGAIN: "Temporary failure in name resolution",
    EAI_FAIL: "Non-recoverable failure in name resolution",
    EAI_NODATA: "No address associated with hostname",
    EAI_FAMILY: "ai_family not supported",
    EAI_SOCKTYPE: "ai_socktype not supported",
    EAI_SERVICE: "Servname not supported for ai_socktype",
    EAI_ADDRFAMILY: "Address family for hostname not supported",
}


def gaierror(code: int, detail: str = "") -> socket.gaierror:
    """Return the exception for a code: its usual text, and after a colon the detail."""
    text = _TEXTS[code]
    return socket.gaierror(code, f"{text}: {detail}" if detail else text)
