"""scapy's sockets in a namespace.

Use the methods of the socket (`sr`, `sr1`, `send`, `sniff`). scapy's functions of these names make sockets in the
program's own namespace. If you leave out source addresses, they are those of the namespace. You must give the
destination of an Ethernet frame, since scapy would ask for it by ARP in the program's own namespace. You must also give
numeric addresses: scapy looks up the name in `IP(dst="www.example.org")` at once, in the program's own namespace.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from struct import pack
from typing import Any

from scapy.arch.linux import L2Socket as _L2Socket
from scapy.config import conf
from scapy.data import ETH_P_ALL, ETH_P_IP
from scapy.layers.inet import IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet
from scapy.supersocket import L3RawSocket as _L3RawSocket

from ..module.namespace import Namespace
from ..module.sockets import NamespaceSocket
from ..names.interfaces import source_addresses
from ..names.numeric import interface_index
from ._namespace import NamespaceLike, as_namespace

_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_MR_PROMISC = 1
"""Source: packet(7), linux/if_packet.h."""


class _Completes:
    """Fills in the addresses that scapy would take from the program's own namespace, before scapy stores the packet."""

    _namespace: Namespace
    _mac: str | None = None

    def send(self, x: Packet) -> int:
        sent: int = super().send(self._complete(x))  # type: ignore[misc]  # of the socket class that is mixed in
        return sent

    def sr(self, pkt: Packet | Iterable[Packet], *args: Any, **kwargs: Any) -> Any:
        return super().sr(self._complete_all(pkt), *args, **kwargs)  # type: ignore[misc]

    def sr1(self, pkt: Packet | Iterable[Packet], *args: Any, **kwargs: Any) -> Any:
        return super().sr1(self._complete_all(pkt), *args, **kwargs)  # type: ignore[misc]

    def _complete_all(self, packets: Packet | Iterable[Packet]) -> list[Packet]:
        groups = [packets] if isinstance(packets, Packet) else packets
        return [self._complete(packet) for group in groups for packet in group]

    def _complete(self, packet: Packet) -> Packet:
        frame = packet.getlayer(Ether)
        if frame is not None and self._mac is not None:
            if "dst" not in frame.fields:
                raise ValueError("Ether needs a dst, which scapy would look up in the program's own namespace: set it")
            frame.fields.setdefault("src", self._mac)
        if (query := packet.getlayer(ARP)) is not None and self._mac is not None:
            query.fields.setdefault("hwsrc", self._mac)
            self._set_source(query, "psrc", "pdst")
        if (header := packet.getlayer(IP)) is not None:
            self._set_source(header, "src", "dst")
        return packet

    def _set_source(self, layer: Packet, source: str, destination: str) -> None:
        if source in layer.fields:
            return
        with self._namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            found = source_addresses(sock, [(str(getattr(layer, destination)), 9)])
        layer.fields[source] = next(iter(found or ()), None) or "0.0.0.0"


class L2Socket(_Completes, _L2Socket):
    """`scapy.arch.linux.L2Socket` on an interface of a namespace. For a filter, use `lfilter` of `sniff`.

    Args:
        namespace: the namespace of the interface. The policy must grant a packet socket.
        iface: the interface's name.
        type: the protocol of the frames to receive (default: all).
        promisc: also receive frames for other hosts (default: `conf.sniff_promisc`).

    Example:
        >>> with L2Socket("blue", iface="eth0") as sock:
        ...     answer = sock.sr1(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="10.0.0.1"), timeout=5, verbose=0)
        >>> answer[ARP].psrc
        '10.0.0.1'
    """

    def __init__(
        self,
        namespace: NamespaceLike,
        iface: str,
        type: int = ETH_P_ALL,  # noqa: A002  # scapy's own name
        promisc: bool | None = None,
    ) -> None:
        self._namespace = as_namespace(namespace)
        self.iface, self.type = iface, type
        self.promisc = False  # If True, close() would act on the interface of this name in the program's namespace.
        self.ins = self.outs = _packet_socket(self._namespace, iface, type)
        if conf.sniff_promisc if promisc is None else promisc:
            request = pack("iHH8x", interface_index(self.ins, iface), _PACKET_MR_PROMISC, 0)
            self.ins.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, request)
        *_, hardware_type, hardware_address = self.ins.getsockname()
        self.LL = conf.l2types.num2layer.get(hardware_type, conf.default_l2)
        self._mac = hardware_address.hex(":")


class L3RawSocket(_Completes, _L3RawSocket):
    """`scapy.supersocket.L3RawSocket` in a namespace, for IPv4.

    Args:
        namespace: the namespace to send and receive in. The policy must grant a packet socket and raw:raw.
        iface: the interface to receive on.
        type: the protocol of the frames to receive (default: IPv4).

    Example:
        >>> from scapy.layers.inet import ICMP
        >>> with L3RawSocket("blue", iface="eth0") as sock:
        ...     answer = sock.sr1(IP(dst="10.0.0.1") / ICMP(), timeout=5, verbose=0)
        >>> answer[IP].src
        '10.0.0.1'
    """

    def __init__(
        self,
        namespace: NamespaceLike,
        iface: str,
        type: int = ETH_P_IP,  # noqa: A002  # scapy's own name
    ) -> None:
        self._namespace = as_namespace(namespace)
        self.iface = iface
        self.ins = _packet_socket(self._namespace, iface, type)
        self.outs = self._namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)


def _packet_socket(namespace: Namespace, iface: str, protocol: int) -> NamespaceSocket:
    # Protocol 0, so that it receives no frame before bind(). Else it would begin with frames of all interfaces.
    sock = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, conf.bufsize)
        sock.bind((iface, protocol))
    except BaseException:
        sock.close()
        raise
    return sock
