"""SCTP for tests: whether this kernel has it, and its view of an association. Source: RFC 6458."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

SOL_SCTP = 132
SCTP_INITMSG = 2
SCTP_STATUS = 14

_INITMSG = struct.Struct("=HHHH")
_STATUS = struct.Struct("=iiIHHHH")
_STATUS_BYTES = 176

# The columns of /proc/net/sctp/eps: ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS.
_STATE, _PORT, _FIRST_ADDRESS = 3, 5, 8
_LISTENING = 10


def why_not() -> str | None:
    """Return the reason why this kernel has no SCTP, or None."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError as error:
        return f"this kernel has no SCTP: {error.strerror}"
    return None


def initmsg(outgoing: int, incoming: int) -> bytes:
    """The value of SCTP_INITMSG: how many streams a socket wants to send, and takes."""
    return _INITMSG.pack(outgoing, incoming, 0, 0)


def streams(sock: socket.socket) -> tuple[int, int]:
    """Incoming and outgoing streams of a connected one-to-one socket."""
    status = sock.getsockopt(SOL_SCTP, SCTP_STATUS, _STATUS_BYTES)
    *_, incoming, outgoing = _STATUS.unpack_from(status)
    return incoming, outgoing


def addresses_here(port: int) -> list[set[str]]:
    """All addresses of each SCTP listener on a port of the namespace that this process is in."""
    with open("/proc/net/sctp/eps") as file:
        lines = [line.split() for line in file][1:]
    mine = [words for words in lines if int(words[_PORT]) == port and int(words[_STATE]) == _LISTENING]
    return [{str(ip_address(host)) for host in words[_FIRST_ADDRESS:]} for words in mine]
