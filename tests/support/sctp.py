"""SCTP for tests: whether this kernel has it, and its view of an association. Source: RFC 6458."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

SOL_SCTP = 132
SCTP_INITMSG = 2
SCTP_STATUS = 14

# Kinds of chunks, and of one parameter. Source: RFC 9260, section 3.
INIT_ACK, ABORT, COOKIE_ECHO, COOKIE_ACK = 2, 6, 10, 11
_COOKIE = 7

_INITMSG = struct.Struct("=HHHH")
_STATUS = struct.Struct("=iiIHHHH")
_STATUS_BYTES = 176

# The columns of /proc/net/sctp/eps: ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS.
_STATE, _PORT, _FIRST_ADDRESS = 3, 5, 8
_LISTENING = 10
# The columns of /proc/net/sctp/assocs: ASSOC SOCK STY SST ST HBKT ASSOC-ID TX_QUEUE RX_QUEUE UID INODE LPORT RPORT ...
_ASSOCIATION_STATE, _ASSOCIATION_PORT = 4, 11
_CLOSED = 0


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


def associations_here(port: int) -> list[str]:
    """The lines of all associations of a local port, except ended ones, in the namespace that this process is in."""
    with open("/proc/net/sctp/assocs") as file:
        lines = file.read().splitlines()[1:]
    return [
        line
        for line in lines
        if int(line.split()[_ASSOCIATION_PORT]) == port and int(line.split()[_ASSOCIATION_STATE]) != _CLOSED
    ]


def packet(source_port: int, port: int, chunk: bytes, tag: int = 0) -> bytes:
    """A packet with its checksum. Only an INIT has no tag. Source: RFC 9260, section 3 and appendix A."""
    head = struct.pack("!HHI", source_port, port, tag)
    return head + struct.pack("<I", _crc32c(head + bytes(4) + chunk)) + chunk


def init(*parameters: bytes) -> bytes:
    """The chunk INIT, with one stream in each direction."""
    value = struct.pack("!IIHHI", 0x1234567, 1 << 16, 1, 1, 1) + b"".join(parameters)
    return struct.pack("!BBH", 1, 0, 4 + len(value)) + value


def cookie_echo(init_ack: bytes) -> bytes:
    """The chunk that returns the cookie of an INIT ACK."""
    place = 20
    while True:
        kind, length = struct.unpack_from("!HH", init_ack, place)
        if kind == _COOKIE:
            return struct.pack("!BBH", COOKIE_ECHO, 0, length) + init_ack[place + 4 : place + length]
        place += length + -length % 4


def address_parameter(host: str) -> bytes:
    """A parameter of INIT: one address of its sender."""
    address = ip_address(host)
    return struct.pack("!HH", 5 if address.version == 4 else 6, 4 + len(address.packed)) + address.packed


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
