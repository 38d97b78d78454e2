"""A machine with one grant, for tests of the seal's programs in an interpreter: see `bpf_machine`."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

from nsbrokerd.policy import AddressRule, Limit
from nsbrokerd.seal import layout
from support.bpf_machine import Machine

INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)
STREAM, TCP = int(socket.SOCK_STREAM), int(socket.IPPROTO_TCP)

# Any offsets do, as long as they do not overlap.
_FIELDS = {
    "socket.sk": 24, "skc_family": 0, "skc_state": 2, "sk_type": 4, "sk_protocol": 6, "skc_num": 8, "skc_dport": 10,
    "skc_rcv_saddr": 12, "skc_daddr": 16, "skc_v6_rcv_saddr": 20, "skc_v6_daddr": 36, "io_uring_cmd.file": 0,
    "io_uring_cmd.cmd_op": 8, "compat.word": 16, "compat.bit": 2, "x32.word": 120, "x32.bit": 0x40000000,
    "asoc.sk": 16, "asoc.state": 24, "asoc.my_vtag": 28, "asoc.my_ttag": 32, "asoc.peer_addr": 40,
    "asoc.transport_count": 300, "asoc.primary_addr": 304, "sk_buff.head": 8, "sk_buff.transport_header": 16,
    "skc_bound_dev_if": 52, "sk_lock.owned": 56, "sctp_sock.ep": 400, "sctp_endpoint.asocs": 24, "asoc.asocs": 8,
    "asoc.port": 36, "asoc.primary_path": 336, "sctp_transport.saddr": 32,
}  # fmt: skip
GRANT = "g"


def rules(*texts: str) -> tuple[AddressRule, ...]:
    return tuple(map(AddressRule.parse, texts))


class Host(Machine):
    """A machine with one grant. Its sockets are made by `sealed`."""

    def __init__(self, connect: Sequence[str] | None = None, bind: Sequence[str] | None = None) -> None:
        super().__init__(_FIELDS)
        self.narrow(connect, bind)
        self.task = self.struct(64)
        self.registers = self.struct(256)

    def narrow(self, connect: Sequence[str] | None = None, bind: Sequence[str] | None = None) -> None:
        limit = Limit(*(None if texts is None else rules(*texts) for texts in (connect, bind)))
        self.limits[layout.grant_id(GRANT)] = limit

    def sk(self, kind: int = STREAM, protocol: int = TCP, family: int = INET, **fields: tuple[int, int]) -> int:
        return self.struct(512, skc_family=(family, 2), sk_type=(kind, 2), sk_protocol=(protocol, 2), **fields)

    def sealed(self, sk: int, flags: int = 0, grant: str = GRANT) -> int:
        """Return the address of a struct socket, for a sealed sock."""
        self.give_entry(sk, grant, flags)
        return self.struct(64, socket__sk=(sk, 8))

    def v4(self, host: str, port: int, family: int = INET) -> int:
        return self.place(struct.pack("=H", family) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(24))

    def v6(self, host: str, port: int, family: int = INET6) -> int:
        address = socket.inet_pton(INET6, host)
        return self.place(struct.pack("=H", family) + struct.pack("!H4x", port) + address + bytes(16))


def word(host: str) -> tuple[int, int]:
    """An IPv4 address as a field of a socket."""
    return int.from_bytes(socket.inet_aton(host), "little"), 4
