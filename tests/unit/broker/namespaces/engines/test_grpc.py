"""Calls by gRPC: an answer is exactly one whole message, and everything else is refused in bounded bytes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsbrokerd.namespaces.engines import grpc
from support.pods import fake_cri
from support.pods.fake_cri import HEAD, Call, FakeCri, Reply, answer, framed

METHOD = "/runtime.v1.RuntimeService/Version"
MAX_BYTES = 2**18


@pytest.fixture
def start_fake(tmp_path: Path) -> Iterator[Callable[[Reply], FakeCri]]:
    with contextlib.ExitStack() as stack:

        def start(reply: Reply) -> FakeCri:
            fake = FakeCri(tmp_path / "cri.sock", {"Version": reply})
            stack.callback(fake.close)
            return fake

        yield start


@contextlib.asynccontextmanager
async def connected(fake: FakeCri, max_bytes: int = MAX_BYTES) -> AsyncIterator[grpc.Connection]:
    with trio.fail_after(20):
        async with await trio.open_unix_socket(fake.path) as stream:
            yield grpc.Connection(stream, max_bytes)


async def call(fake: FakeCri, max_bytes: int = MAX_BYTES) -> bytes:
    async with connected(fake, max_bytes) as connection:
        return await connection.call(METHOD, b"question", 0.5)


async def test_call_returns_the_message_and_is_what_servers_expect(start_fake: Callable[[Reply], FakeCri]) -> None:
    fake = start_fake(answer(b"reply"))
    assert await call(fake) == b"reply"
    assert fake.calls[0].request == framed(b"question")
    assert fake.calls[0].headers == {
        ":method": "POST",
        ":scheme": "http",
        ":path": METHOD,
        ":authority": "localhost",
        "te": "trailers",
        "grpc-timeout": "500m",
        "content-type": "application/grpc",
    }


async def test_connection_takes_calls_one_after_the_other(start_fake: Callable[[Reply], FakeCri]) -> None:
    """A long answer fills the windows of HTTP/2, and the next one still fits."""
    fake = start_fake(answer(b"x" * 100_000))
    async with connected(fake) as connection:
        for _ in range(2):
            assert await connection.call(METHOD, b"", 1) == b"x" * 100_000


async def test_empty_message_is_one(start_fake: Callable[[Reply], FakeCri]) -> None:
    assert await call(start_fake(answer(b""))) == b""


@pytest.mark.parametrize(("status", "name"), [("5", "NOT_FOUND"), ("14", "UNAVAILABLE"), ("12", "UNIMPLEMENTED")])
async def test_failed_call_has_its_status(start_fake: Callable[[Reply], FakeCri], status: str, name: str) -> None:
    for reply in (fake_cri.failure(status), answer(b"x", trailers=[("grpc-status", status)])):
        fake = start_fake(reply)
        with pytest.raises(grpc.StatusError, match=f"^{name}$") as raised:
            await call(fake)
        assert raised.value.status == int(status)
        fake.path.unlink()


def flood_of_settings(call: Call) -> None:
    frame = bytes.fromhex("000000040000000000")
    call.connection.sendall(frame * 20_000)


def endless_continuation(call: Call) -> None:
    head = b"\0\0\x01\x01\x00" + call.stream_id.to_bytes(4, "big") + b"\x88"
    call.connection.sendall(head + (b"\0\0\x01\x09\x00" + call.stream_id.to_bytes(4, "big") + b"\x88") * 20_000)


def many_interim_answers(call: Call) -> None:
    for _ in range(100):
        call.http.send_headers(call.stream_id, [(":status", "103")])


def http_1(call: Call) -> None:
    call.connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    call.connection.shutdown(socket.SHUT_RDWR)


def push(call: Call) -> None:
    frame = b"\0\0\x04\x05\x04" + call.stream_id.to_bytes(4, "big") + (2).to_bytes(4, "big")
    call.connection.sendall(frame)


LONG_HEADERS = [*HEAD, *((f"x-{number}", "y" * 1000) for number in range(20))]

BAD = {
    "closed": (fake_cri.close, "it closed the connection without an answer"),
    "reset": (fake_cri.reset, "it dropped the question"),
    "going away": (fake_cri.go_away, "it is shutting down"),
    "HTTP/1": (http_1, "it closed the connection without an answer"),
    "zeros": (fake_cri.raw(bytes(2**20)), "it does not speak HTTP/2"),
    "pushes": (push, "it does not speak HTTP/2"),
    "frame of 16 MB": (fake_cri.raw(b"\xff\xff\xff\0\0\0\0\0\1" + bytes(MAX_BYTES)), "its answer is too long"),
    "settings without an end": (flood_of_settings, "it sends frames without an end"),
    "continuations without an end": (endless_continuation, "it does not speak HTTP/2"),
    "interim answers": (many_interim_answers, "not that of gRPC .status 1xx."),
    "long headers": (answer(b"x", head=LONG_HEADERS), "it does not speak HTTP/2"),
    "long trailers": (answer(b"x", trailers=LONG_HEADERS[2:]), "it does not speak HTTP/2"),
    "redirect": (answer(b"x", head=[(":status", "302"), ("location", "http://other/")]), "not that of gRPC"),
    "web page": (answer(b"x", head=[(":status", "200"), ("content-type", "text/html")]), "not that of gRPC"),
    "no content type": (answer(b"x", head=[(":status", "200")]), "not that of gRPC"),
    "compressed by gzip": (answer(b"x", head=[*HEAD, ("grpc-encoding", "gzip")]), "its answer is compressed"),
    "no status": (answer(b"x", trailers=[("other", "0")]), "its answer has no status of gRPC"),
    "odd status": (answer(b"x", trailers=[("grpc-status", "-1")]), "its answer has no status of gRPC"),
    "status 17": (answer(b"x", trailers=[("grpc-status", "17")]), "its answer has no status of gRPC"),
    "long status": (answer(b"x", trailers=[("grpc-status", "0" * 99)]), "its answer has no status of gRPC"),
    "no message": (answer(b"", body=b""), "its answer has no message"),
    "status 0 without a message": (fake_cri.failure("0"), "its answer has no message"),
    "part of a prefix": (answer(b"", body=b"\0\0"), "its answer has no message"),
    "part of a message": (answer(b"", body=framed(b"12345")[:-1]), "its answer is not one whole message"),
    "two messages": (answer(b"", body=framed(b"1") * 2), "its answer is not one whole message"),
    "flag of compression": (
        answer(b"", body=framed(b"12345", is_compressed=True)),
        "its answer is not one whole message",
    ),
    "more bytes than a table has": (answer(b"x" * (MAX_BYTES + 1)), "its answer is too long"),
}


@pytest.mark.parametrize(("reply", "reason"), BAD.values(), ids=BAD)
async def test_bad_answer_is_refused(start_fake: Callable[[Reply], FakeCri], reply: Reply, reason: str) -> None:
    with pytest.raises(grpc.AnswerError, match=reason):
        await call(start_fake(reply))


async def test_all_answers_of_a_connection_are_bounded_together(start_fake: Callable[[Reply], FakeCri]) -> None:
    fake = start_fake(answer(b"x" * 4000))
    async with connected(fake, 10_000) as connection:
        await connection.call(METHOD, b"", 1)
        await connection.call(METHOD, b"", 1)
        with pytest.raises(grpc.AnswerError, match="its answer is too long"):
            await connection.call(METHOD, b"", 1)


class Recorded:
    """A peer whose bytes are known before the question."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        data, self._data = self._data[:max_bytes], self._data[max_bytes:]
        return data


GOOD = bytes.fromhex(
    "000000040000000000"  # SETTINGS
    "000014010400000001" "885f8b1d75d0620d263d4c4d6564" "40" "0161" "0162"  # HEADERS
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.integers(0, len(GOOD)), st.integers(0, 255))
async def test_any_bytes_are_refused(data: bytes, at: int, byte: int) -> None:
    """Whatever the bytes are, only the two errors of the module come out."""
    changed = bytearray(GOOD)
    changed[at : at + 1] = bytes([byte])
    for sent in (data, GOOD + data, bytes(changed) + data):
        with pytest.raises((grpc.AnswerError, grpc.StatusError)):
            await grpc.Connection(Recorded(sent), MAX_BYTES).call(METHOD, b"", 1)
