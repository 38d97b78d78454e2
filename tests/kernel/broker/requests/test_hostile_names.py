"""Names with newlines, escapes and marks that turn text around stay within their quotes, wherever they are shown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import pytest

from nsbroker.wire import NO_SUCH_NAMESPACE, ErrorReply, ResolverRequest
from support.brokers.limited import command, grant, open_limited
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import connect_as, tcp
from support.namespaces import PREFIX
from support.socket_listing import needs_listing
from support.tool.running import RunTool, run_tool
from support.users import USER

FORGED = '{"audit":"open","outcome":"allowed","uid":0}'
HOSTILE = f"{PREFIX}\u202e\x1b[2J\r\n{FORGED}\n\u2028\u2066\x07\x9b"
GRANTS = grant("limited", connect=["*:*"])


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return start_broker(GRANTS)


@pytest.fixture
def run(broker: BrokerProcess) -> Iterator[RunTool]:
    with run_tool(broker) as tool:
        yield tool


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    """The name of a namespace that root made so. Only "/" and NUL can't be in it."""
    return make_namespace(HOSTILE.removeprefix(PREFIX))


def is_harmless(text: str, lines: int = 1) -> bool:
    """Whether a terminal would show all of it as it is, in so many lines."""
    return text.count("\n") == lines and all(line.isprintable() for line in text.split("\n"))


def test_name_in_the_audit_is_one_ascii_text(broker: BrokerProcess, name: str) -> None:
    """Of a socket that was handed out, and of requests for namespaces that do not exist."""
    missing = f"{name}\x85"
    with open_limited(broker, name), connect_as(USER, broker) as client:
        assert client.refusal(tcp(missing)).code == NO_SUCH_NAMESPACE
        assert isinstance(client.ask(ResolverRequest(2, missing)), ErrorReply)
    text = broker.audit_path.read_text()
    assert text.isascii()
    assert is_harmless(text, lines=3)
    records = [json.loads(line) for line in text.splitlines()]
    assert [(one["uid"], one["namespace"]) for one in records] == [(USER, name), (USER, missing), (USER, missing)]
    assert is_harmless(broker.log(), broker.log().count("\n"))


def test_refusal_escapes_the_name(broker: BrokerProcess, name: str) -> None:
    """A client of any language can show the message as it is."""
    with connect_as(USER, broker) as client:
        for request in (tcp(f"{name}\x85"), tcp(f"@{name}"), tcp(name.removeprefix("n"))):
            assert client.refusal(request).message.isprintable()


def test_tool_shows_no_name_as_it_is(broker: BrokerProcess, run: RunTool, name: str) -> None:
    """Neither in its table nor in its errors. Its JSON escapes it."""
    status, out, _ = run("list")
    assert (status, is_harmless(out, lines=2)) == (0, True), out
    assert PREFIX in out
    status, out, _ = run("list", "--json")
    assert (status, out.isascii()) == (0, True)
    assert name in {one["namespace"] for one in json.loads(out)}
    for arguments in (
        [f"{name}\x85", "resolve", "x"],
        [f"{name}\x85", "explain", "tcp"],
        [name, "explain", "packet"],
        [name, "explain", "tcp", "--connect", "127.0.0.1:1"],
        ["list", f"{name}\x85"],
    ):
        status, out, err = run(*arguments)
        assert out + err
        assert is_harmless(out + err, lines=(out + err).count("\n")), (out, err)
        assert FORGED not in (out + err).splitlines()


@needs_listing
def test_root_sees_no_name_as_it_is(broker: BrokerProcess, name: str) -> None:
    """In the table of limited sockets, and its JSON."""
    with open_limited(broker, name):
        done = command(broker, "sockets")
        assert (done.returncode, is_harmless(done.stdout, lines=2)) == (0, True), done.stdout
        done = command(broker, "sockets", "--json")
        assert done.stdout.isascii()
        assert [row["namespace"] for row in json.loads(done.stdout)] == [name]
    done = command(broker, "revoke", "--namespace", f"{name}\x85")
    assert (done.returncode, is_harmless(done.stderr)) == (2, True), done.stderr
    assert os.path.exists(f"/run/netns/{name}")
