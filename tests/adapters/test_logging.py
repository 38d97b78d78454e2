"""The network handlers of logging in a namespace."""

from __future__ import annotations

import logging
import pickle
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from nsbroker.adapters.logging import DatagramHandler, HTTPHandler, SocketHandler, SysLogHandler
from support.adapters.example_org import CLIENT, UNKNOWN, ExampleOrg
from support.sockets_inside import open_inside

LOG = "log.example.org"
PORT = 9020
LIMIT_S = 20

MakeHandler = Callable[[str], logging.Handler]


def over_tcp(namespace: str) -> logging.Handler:
    return SocketHandler(namespace, LOG, PORT)


def over_udp(namespace: str) -> logging.Handler:
    return DatagramHandler(namespace, LOG, PORT)


def syslog_over_udp(namespace: str) -> logging.Handler:
    return SysLogHandler(namespace, (LOG, PORT))


def syslog_over_tcp(namespace: str) -> logging.Handler:
    return SysLogHandler(namespace, (LOG, PORT), socktype=socket.SOCK_STREAM)


def over_http(namespace: str) -> logging.Handler:
    return HTTPHandler(namespace, LOG, "/log")


def over_https(namespace: str) -> logging.Handler:
    return HTTPHandler(namespace, LOG, "/log", method="POST", secure=True)


@contextmanager
def failing_loudly(make_handler: MakeHandler, namespace: str) -> Iterator[logging.Handler]:
    def fail(_: logging.LogRecord) -> None:
        raise  # logging calls this where it handles the error

    handler = make_handler(namespace)
    handler.handleError = fail  # type: ignore[method-assign]
    yield handler
    handler.close()


def log(namespace: str, make_handler: MakeHandler, *messages: str) -> None:
    with failing_loudly(make_handler, namespace) as handler:
        for message in messages:
            handler.handle(logging.makeLogRecord({"msg": message, "levelno": logging.INFO}))


@contextmanager
def accepted(listener: socket.socket) -> Iterator[socket.socket]:
    listener.settimeout(LIMIT_S)
    connection, address = listener.accept()
    with connection:
        assert address[0] == CLIENT
        yield connection


def test_records_over_tcp_come_from_the_namespace(site: ExampleOrg) -> None:
    with open_inside(site.server, socket.SOCK_STREAM, PORT) as listener:
        site.run(log, over_tcp, "one")
        with accepted(listener) as connection, connection.makefile("rb") as file:
            (size,) = struct.unpack(">L", file.read(4))
            assert pickle.loads(file.read(size))["msg"] == "one"


@pytest.mark.parametrize("make_handler", [over_udp, syslog_over_udp])
def test_records_over_udp_come_from_the_namespace(site: ExampleOrg, make_handler: MakeHandler) -> None:
    with open_inside(site.server, socket.SOCK_DGRAM, PORT) as sock:
        site.run(log, make_handler, "one", "two")
        sock.settimeout(LIMIT_S)
        for message in (b"one", b"two"):
            datagram, address = sock.recvfrom(4096)
            assert message in datagram
            assert address[0] == CLIENT


def test_syslog_over_tcp_comes_from_the_namespace(site: ExampleOrg) -> None:
    with open_inside(site.server, socket.SOCK_STREAM, PORT) as listener:
        site.run(log, syslog_over_tcp, "one", "two")
        with accepted(listener) as connection, connection.makefile("rb") as file:
            assert file.read() == b"<12>one\x00<12>two\x00"


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("make_handler", [over_http, over_https])
def test_records_over_http_are_accepted(site: ExampleOrg, make_handler: MakeHandler) -> None:
    """Each has a connection of its own, and TLS verifies the name."""
    site.run(log, make_handler, "one", "two")


def reconnect(namespace: str, listener: socket.socket) -> None:
    handler = SocketHandler(namespace, LOG, PORT)
    handler.closeOnError = True
    for _ in range(2):
        handler.handle(logging.makeLogRecord({"msg": "message"}))
        with accepted(listener):
            pass
        while handler.sock is not None:  # It notices when a later record can't be sent.
            handler.handle(logging.makeLogRecord({"msg": "lost"}))
    handler.close()


def test_reconnect_stays_inside(site: ExampleOrg) -> None:
    """After the server closed, the handler connects again from the namespace for a later record."""
    with open_inside(site.server, socket.SOCK_STREAM, PORT) as listener:
        site.run(reconnect, listener)


def fail(namespace: str, make_handler: MakeHandler) -> None:
    with pytest.raises(OSError, match="refused"):
        log(namespace, make_handler, "one")


def fail_to_find(namespace: str) -> None:
    with pytest.raises(socket.gaierror):
        SysLogHandler(namespace, (UNKNOWN, 514))
    with pytest.raises(socket.gaierror):
        SocketHandler(namespace, UNKNOWN, 514).makeSocket()


def test_errors_are_the_usual_ones(site: ExampleOrg) -> None:
    """The port is closed, or the name is unknown."""
    site.run(fail, syslog_over_tcp)
    site.run(fail_to_find)
