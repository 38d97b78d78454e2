"""The exceptions of look-ups, with the codes and texts of gai_strerror(3) and hstrerror(3)."""

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
_HOST_ERRORS = {
    EAI_NONAME: (1, "Unknown host"),
    EAI_AGAIN: (2, "Host name lookup failure"),
    EAI_FAIL: (3, "Unknown server error"),
    EAI_NODATA: (4, "No address associated with name"),
}


class HostEncodingError(socket.gaierror, UnicodeError):
    """A host that the codec "idna" can't encode, so it can't be a name.

    The socket module raises a UnicodeError. Code that expects an OSError of each look-up can catch this as one.
    """


class NoRecoveryError(socket.gaierror):
    """A name server's answer is of no use. The functions of the C library have different codes for this."""


def gaierror(code: int, detail: str = "") -> socket.gaierror:
    """Return the exception for a code: its usual text, and after a colon the detail."""
    text = _TEXTS[code]
    return socket.gaierror(code, f"{text}: {detail}" if detail else text)


def herror(error: socket.gaierror) -> socket.herror:
    """Return the exception of gethostbyaddr(3) for the same failure. It keeps the detail and the notes."""
    code, text = _HOST_ERRORS[error.errno or EAI_FAIL]
    _, colon, detail = ("", "", "") if isinstance(error, NoRecoveryError) else str(error.strerror).partition(": ")
    made = socket.herror(code, text + colon + detail)
    for note in getattr(error, "__notes__", ()):
        made.add_note(note)
    return made
