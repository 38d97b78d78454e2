"""The answers of podman and docker about a container, and everything that an engine could send instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nsbroker.link.engine_answers import (
    Container,
    EngineError,
    NoContainerError,
    is_container_name,
    read_container,
    read_http,
)

ID = "0123456789abcdef" * 4
STATE = {"Running": True, "Pid": 4711, "StartedAt": "2026-01-31T10:00:00.123456789+01:00"}
DESCRIPTION = {
    "Id": ID,
    "Name": "/web",
    "State": STATE,
    "ResolvConfPath": "/run/resolv.conf",
    "HostsPath": "/run/hosts",
}


def encode(**changes: Any) -> bytes:
    state = STATE | changes.pop("State", {})
    return json.dumps(DESCRIPTION | {"State": state} | changes).encode()


def test_description_has_id_process_start_and_files() -> None:
    expected = Container(ID, 4711, 1769850000.123456, "/run/resolv.conf", "/run/hosts")
    assert read_container(encode(), "web") == expected
    assert read_container(b"[" + encode(Name="web") + b"]", "web") == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Name": "/other"}, "there is no container 'web': this is an id of 'other'"),
        ({"Name": "/" + "x" * 1000}, f"this is an id of '{'x' * 253}'"),
        ({"State": {"Running": False}}, "the container 'web' does not run, so start it"),
        ({"State": {"Running": 1}}, "does not run"),
        ({"State": {"Running": "true"}}, "does not run"),
    ],
)
def test_container_that_can_not_be_used_is_none(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(NoContainerError) as caught:
        read_container(encode(**changes), "web")
    assert message in str(caught.value)


def test_paused_container_runs() -> None:
    """Podman says of a paused container that it does not run. Its network is there."""
    assert read_container(encode(State={"Running": False, "Paused": True}), "web").pid == 4711


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff", b"[" * 100_000, b"null", b"[]", b"[1]", b"{}", b'{"State": 5}', b'{"State": {}}',
        encode()[:-3], b"[" + encode() + b", 1]",
        encode(Name=None), encode(Id=None), encode(Id=ID[:12]), encode(Id="x" * 64), encode(Id="../" + ID[3:]),
        encode(State={"Pid": 0}), encode(State={"Pid": -1}), encode(State={"Pid": True}), encode(State={"Pid": "1"}),
        encode(State={"Pid": 2**22 + 1}), encode(State={"Pid": 1.5}), encode(State={"Pid": None}),
    ],
)  # fmt: skip
def test_answer_of_another_shape_is_no_answer(body: bytes) -> None:
    with pytest.raises(EngineError):
        read_container(body, "web")


@pytest.mark.parametrize("started", [None, 5, "", "yesterday", "2026-01-31T10:00:00", "9" * 5000])
def test_start_of_another_form_is_unknown(started: object) -> None:
    assert read_container(encode(State={"StartedAt": started}), "web").started_at is None


@pytest.mark.parametrize("path", [None, "", "resolv.conf", "../x", 7, "/x\0y", "/\ud800", ["/x"]])
def test_path_of_another_form_is_no_path(path: object) -> None:
    container = read_container(encode(ResolvConfPath=path, HostsPath=path), "web")
    assert (container.resolv_conf, container.hosts) == ("", "")


@pytest.mark.parametrize("status", ["200 OK", "200"])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_body_comes_after_the_head(version: str, status: str) -> None:
    assert read_http(f"{version} {status}\r\nA: b\r\n\r\n{{}}\r\n\r\n".encode(), "web") == b"{}\r\n\r\n"


def test_404_means_no_such_container() -> None:
    with pytest.raises(NoContainerError, match="there is no container 'web'"):
        read_http(b"HTTP/1.0 404 Not Found\r\n\r\n{}", "web")


@pytest.mark.parametrize("status", [b"500 Oops", b"301 Moved\r\nLocation: /x", b"100 Continue", b"204 No Content"])
def test_other_status_is_no_answer(status: bytes) -> None:
    with pytest.raises(EngineError, match=f"HTTP status {status[:3].decode()}"):
        read_http(b"HTTP/1.1 " + status + b"\r\n\r\n{}", "web")


@pytest.mark.parametrize(
    "data",
    [b"", b"\r\n\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.0 20\r\n\r\n", b"SSH-2.0-x\r\n\r\n"],
)
def test_other_text_is_no_http(data: bytes) -> None:
    with pytest.raises(EngineError, match="not HTTP, or cut off"):
        read_http(data, "web")


@pytest.mark.parametrize("name", ["a", "web-1", "A.b_c", "9", "x" * 253])
def test_name_of_a_container(name: str) -> None:
    assert is_container_name(name)


@pytest.mark.parametrize(
    "name", ["", "-x", ".", "..", "_x", "x" * 254, "a b", "a%2f", "a?b", "a#b", "a\r\nb", "\u00fc", "a:b", "\u0663"]
)
def test_other_text_is_no_name_of_a_container(name: str) -> None:
    assert not is_container_name(name)
