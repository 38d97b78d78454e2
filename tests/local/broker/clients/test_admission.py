"""The broker admits clients, as many as the quotas allow."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

from nsbroker.wire import OVERLOADED, ErrorReply, decode_reply
from nsbrokerd.clients.admission import Admission, Users
from nsbrokerd.clients.quotas import Quotas
from support.brokers.fake_intake import FakeCloser


def test_client_beyond_the_quota_of_all_is_told_and_closed(tmp_path: Path) -> None:
    path = str(tmp_path / "admission.sock")
    users = Users(Quotas(clients=2))
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(path)
        listener.listen()
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) for _ in range(3)]
        for client in clients:
            client.connect(path)
        admitted, trouble = Admission(listener, users, FakeCloser()).accept(0)  # type: ignore[arg-type]  # a fake
        for one in admitted:
            stack.callback(one.sock.close)
        assert (len(admitted), trouble, users.clients) == (2, None, 2)
        reply = decode_reply(clients[2].recv(4096))
        assert isinstance(reply, ErrorReply)
        assert (reply.request_id, reply.code) == (None, OVERLOADED)
        assert clients[2].recv(1) == b""
