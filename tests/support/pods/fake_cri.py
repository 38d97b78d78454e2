"""A CRI server in threads of the test, which answers each call as the test wants it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions

HEAD = [(":status", "200"), ("content-type", "application/grpc")]


class Call:
    """One call, whose answer a reply sends."""

    def __init__(self, connection: socket.socket, http: h2.connection.H2Connection, stream_id: int) -> None:
        self.connection = connection
        self.http = http
        self.stream_id = stream_id
        self.request = b""
        self.headers: dict[str, str] = {}

    @property
    def method(self) -> str:
        """The method's last word, such as "Version"."""
        return self.headers[":path"].rpartition("/")[2]

    def flush(self) -> None:
        """Send the frames that `http` has made."""
        self.connection.sendall(self.http.data_to_send())


Reply = Callable[[Call], None]


class FakeCri:
    """A server whose `replies` say how it answers each method."""

    def __init__(self, path: Path, replies: dict[str, Reply]) -> None:
        """Take connections at a path until `close`."""
        self.path = path
        self.replies = replies
        self.calls: list[Call] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Wait until the clients have closed their connections, and end."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        open_calls: dict[int, Call] = {}
        # A client that refuses an answer closes its connection at once. A reply can close it, too.
        with connection, contextlib.suppress(OSError, h2.exceptions.ProtocolError):
            http.initiate_connection()
            connection.sendall(http.data_to_send())
            while data := connection.recv(65536):
                for event in http.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        call = open_calls[event.stream_id] = Call(connection, http, event.stream_id)
                        call.headers = {str(name): str(value) for name, value in event.headers}
                    elif isinstance(event, h2.events.DataReceived):
                        open_calls[event.stream_id].request += event.data
                    elif isinstance(event, h2.events.StreamEnded):
                        call = open_calls.pop(event.stream_id)
                        self.calls.append(call)
                        self.replies[call.method](call)
                connection.sendall(http.data_to_send())


def framed(message: bytes, is_compressed: bool = False) -> bytes:
    """Put the prefix of gRPC before a message."""
    return struct.pack(">?I", is_compressed, len(message)) + message


def answer(
    message: bytes | None,
    *,
    head: list[tuple[str, str]] | None = None,
    trailers: list[tuple[str, str]] | None = None,
    body: bytes | None = None,
) -> Reply:
    """Answer with a message. Each part of the answer can be another one."""

    def reply(call: Call) -> None:
        http, stream_id = call.http, call.stream_id
        http.send_headers(stream_id, HEAD if head is None else head)
        data = body if body is not None else framed(message or b"")
        while data:
            size = min(http.local_flow_control_window(stream_id), http.max_outbound_frame_size, len(data))
            http.send_data(stream_id, data[:size])
            data = data[size:]
            call.flush()
        http.send_headers(stream_id, trailers or [("grpc-status", "0")], end_stream=True)

    return reply


def failure(status: str) -> Reply:
    """Answer that the call failed, in headers alone, as servers do."""
    return lambda call: call.http.send_headers(call.stream_id, [*HEAD, ("grpc-status", status)], end_stream=True)


def hang(_call: Call) -> None:
    """Give no answer."""


def close(call: Call) -> None:
    """Close the connection in the middle of an answer."""
    call.http.send_headers(call.stream_id, HEAD)
    call.flush()
    call.connection.shutdown(socket.SHUT_RDWR)


def reset(call: Call) -> None:
    """Drop the call."""
    call.http.reset_stream(call.stream_id)


def go_away(call: Call) -> None:
    """Say that the server ends."""
    call.http.close_connection()


def raw(data: bytes) -> Reply:
    """Send any bytes in place of an answer."""
    return lambda call: call.connection.sendall(data)
