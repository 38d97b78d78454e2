"""The program of a porter, in this process."""

from __future__ import annotations

import os
import socket

import pytest

from nsbroker.link import fdpass
from nsbrokerd.clients import porter_process
from nsbrokerd.clients.porter_process import LOST, NAMESPACES


@pytest.mark.parametrize("has_room", [True, False])
def test_each_order_is_answered_though_the_kernel_takes_no_descriptors(
    has_room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an answer, the broker would wait for the porter forever. Source: too_many_unix_fds in net/unix/scm.c."""
    lend = fdpass.lend_packet

    def lend_without_room(sock: socket.socket, packet: bytes, fds: list[int], flags: int = 0) -> None:
        if fds and not has_room:
            raise OSError("too many descriptors in flight")
        lend(sock, packet, fds, flags)

    broker, porter = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client, connection = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with broker, porter, client, connection, open("/proc/self/ns/net") as namespace:
        lend(client, b"request", [namespace.fileno()])
        monkeypatch.setattr("nsbrokerd.clients.porter_process.fdpass.lend_packet", lend_without_room)
        nsfs = os.stat("/proc/self/ns/net").st_dev
        fds, is_handed_on = porter_process._take(porter, connection.fileno(), 1, nsfs)
        answer, came = fdpass.take_packet(broker, 1, 1, socket.MSG_DONTWAIT)
        for fd in [*fds, *came]:
            os.close(fd)
    assert (answer, is_handed_on, len(came)) == ((NAMESPACES, True, 1) if has_room else (LOST, False, 0))
