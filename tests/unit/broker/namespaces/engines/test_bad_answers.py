"""Whatever a broken or hostile engine answers: it is unavailable, never "not found", and costs little memory."""

from __future__ import annotations

import json
import re
import socket
import struct

import pytest

from nsbrokerd.namespaces.engines import EngineError
from nsbrokerd.namespaces.engines.docker_api import MAX_ANSWER_BYTES, DockerApi
from nsbrokerd.namespaces.engines.http import MAX_HEAD_BYTES
from support.engines.fake import FakeEngine, chunked, container, http

GOOD = json.dumps(container()).encode()
HEAD = b"HTTP/1.1 200 OK\r\n"


def changed(**changes: object) -> bytes:
    return json.dumps({**container(), **changes}).encode()


async def refusal(api: DockerApi) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await api.find("web")
    return caught.value


@pytest.mark.parametrize(
    "answer",
    [
        http(GOOD),
        chunked(GOOD, 1),
        chunked(GOOD, 4096),
        HEAD + b"\r\n" + GOOD,
        b"HTTP/1.0 200 OK\r\n\r\n" + GOOD,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + http(GOOD),
        http(b" " * (MAX_ANSWER_BYTES - 1000 - len(GOOD)) + GOOD),
    ],
    ids=["length", "chunks of a byte", "one chunk", "until the end", "HTTP/1.0", "early hints", "nearly too long"],
)
async def test_good_answer_may_come_in_each_form(answer: bytes, fake: FakeEngine, podman: DockerApi) -> None:
    fake.say(answer)
    assert (await podman.find("web")).key == "/run/netns/nowhere"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "its answer is broken"),
        (b"\0" * 1000, "illegal"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "illegal status line"),
        (HEAD + b"Content-Length: 5\r\n\r\n{", "without sending complete message body"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "illegal chunk header"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", "without sending complete message body"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "conflicting Content-Length"),
        (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}", "its answer is broken"),
        (HEAD + b"X: " + b"a" * (MAX_HEAD_BYTES + 2**14), "Receive buffer too long"),
        (HEAD + b"X: a\r\n" * MAX_HEAD_BYTES, "Receive buffer too long"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_HEAD_BYTES, "longer than 262144 bytes"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;" + b"a" * 2**20, "illegal chunk header|too long"),
        (http(GOOD + b" " * MAX_ANSWER_BYTES), "longer than 262144 bytes"),
        (chunked(GOOD + b" " * 2**20, 2**16), "longer than 262144 bytes"),
        (http(changed(Config={"Labels": {"x": "y" * 10**6}})), "longer than 262144 bytes"),
        (http(GOOD[:-1]), "it is no JSON"),
        (http(b""), "it is no JSON"),
        (http(b"[" * 100_000), "it is no JSON"),
        (http(b"1" * 10_000), "it is no JSON"),
        (http(b'"\xff"'), "it is no JSON"),
        (http(b"null"), "Running|State is missing"),
        (http(b"{}"), "State is missing"),
        (http(changed(Id="0123456789ab")), "not in its full form"),
        (http(changed(Id=None)), "Id is missing"),
        (http(changed(Name=7)), "Name is missing"),
        (http(changed(State={"Running": 1, "StartedAt": "2026-01-02T03:04:05Z"})), "Running is missing"),
        (http(changed(State={"Running": True, "StartedAt": "yesterday"})), "StartedAt is no time"),
        (http(changed(State={"Running": True, "StartedAt": "2026-13-02T03:04:05Z"})), "StartedAt is no time"),
        (http(changed(NetworkSettings={"SandboxKey": ["/"]})), "SandboxKey is missing"),
        (http(changed(HostConfig=None)), "HostConfig is missing"),
        (http(GOOD, "500 Internal Server Error"), "the status 500"),
        (http(GOOD, "301 Moved", "Location: http://localhost/containers/web/json"), "the status 301"),
        (http(b"", "307 Moved", "Location: /"), "the status 307"),
        (http(GOOD, "206 Partial Content"), "the status 206"),
        (http(b"<html>", "404 Not Found"), "it is no JSON"),
        (http(b"{}", "404 Not Found"), "message is missing"),
    ],
)
async def test_bad_answer_makes_the_engine_unavailable(
    answer: bytes, why: str, fake: FakeEngine, podman: DockerApi
) -> None:
    fake.say(answer)
    error = await refusal(podman)
    assert error.kind == "unavailable"
    assert str(error).startswith(f"podman is unavailable at {fake.path}: ")
    assert re.search(why, str(error))
    assert len(fake.targets) == 1


async def test_engine_that_resets_the_connection_is_unavailable(fake: FakeEngine, podman: DockerApi) -> None:
    def answer(_target: str, connection: socket.socket) -> None:
        connection.sendall(HEAD)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    fake.answer = answer
    assert (await refusal(podman)).kind == "unavailable"
