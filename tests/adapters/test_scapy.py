"""scapy's sockets in a namespace."""

from __future__ import annotations

import warnings

import pytest

from support.adapters.example_org import CLIENT, SERVER, ExampleOrg
from support.namespaces import ip

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # The warnings of scapy's imports are not ours.
    from scapy.layers.inet import ICMP, IP, UDP
    from scapy.layers.l2 import ARP, Ether

    from nsbroker.adapters.scapy import L2Socket, L3RawSocket

BROADCAST = "ff:ff:ff:ff:ff:ff"
TIMEOUT_S = 20


def mac_of(namespace: str) -> str:
    return ip("-n", namespace, "link", "show", "eth0").split("link/ether ")[1].split()[0]


def ask_by_arp(namespace: str) -> tuple[str, str]:
    with L2Socket(namespace, "eth0") as sock:
        answer = sock.sr1(Ether(dst=BROADCAST) / ARP(pdst=SERVER), timeout=TIMEOUT_S, verbose=0)
    return answer[ARP].hwsrc, answer[ARP].hwdst


def test_arp_is_answered_inside(site: ExampleOrg) -> None:
    """The source addresses are the namespace's."""
    assert site.run(ask_by_arp) == (mac_of(site.server), mac_of(site.client))


def ping_by_frame(namespace: str, server_mac: str) -> tuple[str, str]:
    with L2Socket(namespace, "eth0", promisc=True) as sock:
        answered, _ = sock.sr([Ether(dst=server_mac) / IP(dst=SERVER) / ICMP(seq=[1, 2])], timeout=TIMEOUT_S, verbose=0)
    assert [answer[ICMP].seq for _, answer in answered] == [1, 2]
    return answered[0][1][IP].src, answered[0][1][IP].dst


def test_frames_are_answered_inside(site: ExampleOrg) -> None:
    assert site.run(ping_by_frame, mac_of(site.server)) == (SERVER, CLIENT)


def ping(namespace: str) -> tuple[str, str]:
    with L3RawSocket(namespace, "eth0") as sock:
        answer = sock.sr1(IP(dst=SERVER) / ICMP(), timeout=TIMEOUT_S, verbose=0)
    return answer[IP].src, answer[IP].dst


def test_packets_are_routed_inside(site: ExampleOrg) -> None:
    """And have the address of the namespace, by which their answers are known."""
    assert site.run(ping) == (SERVER, CLIENT)


def sniff(namespace: str) -> int:
    with L2Socket(namespace, "eth0") as sock, L3RawSocket(namespace, "eth0") as sender:

        def send() -> None:
            sender.send(IP(dst=SERVER) / UDP(dport=9))

        found = sock.sniff(count=1, timeout=TIMEOUT_S, started_callback=send, lfilter=lambda frame: ICMP in frame)
    return int(found[0][ICMP].type)


def test_frames_are_sniffed_inside(site: ExampleOrg) -> None:
    """The answer to another socket's packet says that the port is closed."""
    assert site.run(sniff) == 3


def forget_destination(namespace: str) -> None:
    with L2Socket(namespace, "eth0") as sock, pytest.raises(ValueError, match="dst"):
        sock.send(Ether() / IP(dst=SERVER))


def test_frame_without_destination_is_refused(site: ExampleOrg) -> None:
    """Else scapy asks for it by ARP outside."""
    site.run(forget_destination)


def choose_no_interface(namespace: str) -> None:
    with pytest.raises(OSError, match="No such device"):
        L2Socket(namespace, "eth7")


def test_unknown_interface_is_the_usual_error(site: ExampleOrg) -> None:
    site.run(choose_no_interface)
