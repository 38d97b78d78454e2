"""Calls functions of a gRPC server on a Unix socket: one request, one answer, one call at a time.

The server is an engine, and containers decide about parts of its answers. So time, bytes and headers are bounded, and
each unexpected frame ends the connection. Only `cri` imports this module, at its first question, because h2 takes
memory.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, RFC 9113.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Protocol

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack
import hyperframe.exceptions
import trio

MAX_HEADER_BYTES = 8192
"""RFC 9113, 6.5.2: the size of all header fields of one block."""

_PART_BYTES = 8192
"""A part of an answer is decoded at once. Other clients are served in between."""

_MAX_EVENTS = 4096
"""Frames of one connection that carry no answer, such as PING and SETTINGS."""

_PREFIX = struct.Struct(">?I")
"""Before each message: whether it is compressed, and its length in bytes."""

_OK = b"0"

# The headers of a request are those of this module, so checking them would only take time.
_CONFIGURATION = h2.config.H2Configuration(
    header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
)

NOT_FOUND = 5
UNIMPLEMENTED = 12

_STATUS_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""By number. Source: https://github.com/grpc/grpc/blob/master/doc/statuscodes.md."""


class AnswerError(Exception):
    """The server gave no usable answer: it closed the connection, or sent too much, or something else."""


class StatusError(Exception):
    """The server answered that the call failed.

    Attributes:
        status: the number of gRPC, from 1 to 16.
    """

    def __init__(self, status: int) -> None:
        super().__init__(_STATUS_NAMES[status])
        self.status = status


class Stream(Protocol):
    """A connected stream, such as trio.SocketStream."""

    async def send_all(self, data: bytes) -> None:
        """Send all the data."""

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        """Receive at least one byte, or none if the peer has closed the connection."""


class Connection:
    """A connection to a gRPC server. Don't use it any more after an exception, or if a call was cancelled."""

    def __init__(self, stream: Stream, max_bytes: int) -> None:
        """Use a connected stream, which the caller closes.

        Args:
            stream: a stream of its own, without bytes of others.
            max_bytes: the bytes of all answers, with their frames and headers.
        """
        self._stream = stream
        self._bytes_left = max_bytes
        self._events_left = _MAX_EVENTS
        self._http = h2.connection.H2Connection(_CONFIGURATION)
        self._http.encoder = _PlainEncoder()
        self._http.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.HEADER_TABLE_SIZE: 4096,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: max_bytes,
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
            },
        )
        self._http.decoder.max_header_list_size = MAX_HEADER_BYTES
        self._http.initiate_connection()
        # The window of a connection is 65,535 bytes, whatever the settings say.
        self._http.increment_flow_control_window(max_bytes)

    async def call(self, method: str, request: bytes, timeout_s: float) -> bytes:
        """Call a function, and return its answer. The caller bounds the time.

        Args:
            method: for example "/runtime.v1.RuntimeService/Version".
            request: an encoded message, of a few hundred bytes.
            timeout_s: tells the server when it can give up.

        Raises:
            StatusError: the server answered that the call failed.
            AnswerError: the server gave no usable answer.
        """
        try:
            stream_id = self._http.get_next_available_stream_id()
            self._http.send_headers(stream_id, _headers(method, timeout_s))
            self._http.send_data(stream_id, _PREFIX.pack(False, len(request)) + request, end_stream=True)
            answer = _Answer(stream_id)
            while not answer.ended:
                if data := self._http.data_to_send():
                    await self._stream.send_all(data)
                for event in self._http.receive_data(await self._receive()):
                    self._take(answer, event)
        except (h2.exceptions.H2Error, hpack.HPACKError, hyperframe.exceptions.HyperframeError) as error:
            raise AnswerError(f"it does not speak HTTP/2 as it should ({type(error).__name__})") from error
        except trio.BrokenResourceError as error:
            raise AnswerError("it closed the connection without an answer") from error
        return answer.message()

    async def _receive(self) -> bytes:
        if not self._bytes_left:
            raise AnswerError("its answer is too long")
        data = bytes(await self._stream.receive_some(min(_PART_BYTES, self._bytes_left)))
        if not data:
            raise AnswerError("it closed the connection without an answer")
        self._bytes_left -= len(data)
        return data

    def _take(self, answer: _Answer, event: h2.events.Event) -> None:
        self._events_left -= 1
        if not self._events_left:
            raise AnswerError("it sends frames without an end")
        answer.take(event)


class _Answer:
    """The answer to one call, as far as it has arrived."""

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id
        self.data = bytearray()
        self.ended = False
        self._status: bytes | None = None

    def take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            raise AnswerError("it is shutting down")
        if isinstance(event, h2.events.InformationalResponseReceived):
            raise AnswerError("its answer is not that of gRPC (status 1xx)")
        if getattr(event, "stream_id", self.stream_id) != self.stream_id:
            return  # of an earlier call, or of the whole connection
        if isinstance(event, h2.events.StreamReset):
            raise AnswerError("it dropped the question")
        if isinstance(event, h2.events.ResponseReceived):
            headers = _as_dict(event.headers)
            _check_head(headers)
            self._status = headers.get(b"grpc-status")
        elif isinstance(event, h2.events.DataReceived):
            # The windows have room for all bytes that the connection may receive, so nothing is acknowledged.
            self.data += event.data
        elif isinstance(event, h2.events.TrailersReceived):
            self._status = _as_dict(event.headers).get(b"grpc-status")
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True

    def message(self) -> bytes:
        """Return the message of a complete answer.

        Raises:
            StatusError: the call failed.
            AnswerError: this is no answer.
        """
        if self._status != _OK:
            raise _failure(self._status)
        if len(self.data) < _PREFIX.size:
            raise AnswerError("its answer has no message")
        is_compressed, length = _PREFIX.unpack_from(self.data)
        if is_compressed or length != len(self.data) - _PREFIX.size:
            raise AnswerError("its answer is not one whole message")
        return bytes(memoryview(self.data)[_PREFIX.size :])


class _PlainEncoder(hpack.Encoder):
    """Encodes headers without the Huffman code, which takes a quarter of a millisecond and saves 40 bytes."""

    def encode(self, headers: Any, huffman: bool = False) -> bytes:
        return super().encode(headers, huffman)


def _headers(method: str, timeout_s: float) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("grpc-timeout", f"{max(1, round(timeout_s * 1000))}m"),
        ("content-type", "application/grpc"),
    ]


def _as_dict(headers: Iterable[tuple[bytes | str, bytes | str]]) -> dict[bytes, bytes]:
    return {_as_bytes(name): _as_bytes(value) for name, value in headers}


def _as_bytes(text: bytes | str) -> bytes:
    # With header_encoding=None, h2 returns bytes. Its types allow both.
    return text if isinstance(text, bytes) else text.encode()


def _check_head(headers: dict[bytes, bytes]) -> None:
    """Check the first headers of an answer.

    Raises:
        AnswerError: the server is no gRPC server, or it compresses the answer.
    """
    if headers.get(b":status") != b"200" or not headers.get(b"content-type", b"").startswith(b"application/grpc"):
        raise AnswerError("its answer is not that of gRPC")
    if headers.get(b"grpc-encoding", b"identity") != b"identity":
        raise AnswerError("its answer is compressed")


def _failure(status: bytes | None) -> Exception:
    if status is None or not status.isdigit() or len(status) > 2 or not 0 < int(status) < len(_STATUS_NAMES):
        return AnswerError("its answer has no status of gRPC")
    return StatusError(int(status))
