"""nsbroker-get's command line, read without a broker."""

from __future__ import annotations

import socket

import pytest

from nsbroker.cli.arguments import (
    family_option,
    host_family,
    listen_address,
    parse,
    port_number,
    seconds,
    whole_number,
)
from nsbroker.cli.command import read_command
from nsbroker.cli.messages import FailureError
from nsbroker.cli.socket_verb import triple_of

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
KNOWN = {"-u": False, "-4": False, "-w": True, "--wait": True, "--json": False}


@pytest.mark.parametrize(
    ("args", "options", "rest"),
    [
        (["-u", "-w", "3", "x"], [("-u", ""), ("-w", "3")], ["x"]),
        (["-uw3", "x"], [("-u", ""), ("-w", "3")], ["x"]),
        (["-u4", "--wait=7"], [("-u", ""), ("-4", "")], []),
        (["--wait", "7", "--", "-u"], [("--wait", "7")], ["-u"]),
        (["--wait=", "a", "-u"], [("--wait", "")], ["a", "-u"]),
        (["-", "-u"], [], ["-", "-u"]),
        ([], [], []),
    ],
)
def test_options_are_read_as_getopt_reads_them(args: list[str], options: list[object], rest: list[str]) -> None:
    read, left = parse(args, KNOWN)
    assert [option for option in options if option not in read] == []
    assert left == rest


def test_options_may_stand_anywhere_where_no_command_follows() -> None:
    assert parse(["host", "-u", "80", "-w3"], KNOWN, anywhere=True) == ([("-u", ""), ("-w", "3")], ["host", "80"])
    assert parse(["host", "--", "-u"], KNOWN, anywhere=True) == ([], ["host", "-u"])


@pytest.mark.parametrize("args", [["-x"], ["--nope"], ["-w"], ["--wait"], ["--json=1"], ["-ux"], ["---"]])
def test_wrong_options_are_refused(args: list[str]) -> None:
    with pytest.raises(FailureError, match="--help") as caught:
        parse(args, KNOWN)
    assert caught.value.status == 125


@pytest.mark.parametrize(
    ("text", "family", "expected"),
    [
        ("80", None, (V4, ("", 80))),
        (":80", None, (V4, ("", 80))),
        ("*:80", None, (V4, ("", 80))),
        ("80", V6, (V6, ("::", 80))),
        ("*:80", V6, (V6, ("::", 80))),
        ("1.2.3.4:80", None, (V4, ("1.2.3.4", 80))),
        ("[::]:80", None, (V6, ("::", 80))),
        ("[fe80::1%3]:0", V6, (V6, ("fe80::1%3", 0))),
        ("localhost:80", None, (V4, ("localhost", 80))),
        ("localhost:80", V6, (V6, ("localhost", 80))),
    ],
)
def test_addresses_to_listen_on(text: str, family: int | None, expected: object) -> None:
    assert listen_address(text, family) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "1.2.3.4", "::80", "1.2.3.4:", ":65536", ":-1", ":\uff18\uff10", "[::]", "[::]:x", "::1:80"]
)
def test_wrong_addresses_are_refused(text: str) -> None:
    with pytest.raises(FailureError):
        listen_address(text, None)


def test_family_that_was_asked_for_is_insisted_on() -> None:
    assert family_option([]) is None
    assert family_option([("-4", "")]) == V4
    assert family_option([("-u", ""), ("-6", "")]) == V6
    for call in (
        lambda: family_option([("-4", ""), ("-6", "")]),
        lambda: host_family("::1", V4),
        lambda: host_family("10.0.0.1", V6),
        lambda: listen_address("10.0.0.1:80", V6),
    ):
        with pytest.raises(FailureError):
            call()


def test_port_is_a_plain_number() -> None:
    assert port_number("65535") == 65535
    for text in ("", "http", "-1", "65536", "1.0", " 80"):
        with pytest.raises(FailureError):
            port_number(text)


def test_seconds_are_a_number_in_range() -> None:
    assert seconds("--wait", "0.5", 60) == 0.5
    for text in ("x", "-1", "61", "nan", ""):
        with pytest.raises(FailureError, match="--wait takes seconds"):
            seconds("--wait", text, 60)


@pytest.mark.parametrize(
    ("kind", "family", "triple"),
    [
        ("tcp", V4, (V4, 1, 0)),
        ("udp", V6, (V6, 2, 0)),
        ("udplite", V4, (V4, 2, 136)),
        ("mptcp", V4, (V4, 1, 262)),
        ("sctp", V4, (V4, 1, 132)),
        ("icmp", V4, (V4, 2, 1)),
        ("icmp", V6, (V6, 2, 58)),
        ("raw:ospf", V4, (V4, 3, 89)),
        ("packet", V4, (17, 3, 0)),
        ("netlink:route", V4, (16, 3, 0)),
    ],
)
def test_kinds_are_the_policys_words(kind: str, family: int, triple: tuple[int, int, int]) -> None:
    assert triple_of(kind, family) == triple


@pytest.mark.parametrize("kind", ["", "TCP", "raw", "raw:", "raw:nope", "netlink:nope", "tcp:80", "unix"])
def test_unknown_kinds_are_refused_with_the_known_ones(kind: str) -> None:
    with pytest.raises(FailureError, match="netlink:route"):
        triple_of(kind, V4)


def test_command_line_is_split_at_the_verb() -> None:
    command = read_command(
        ["--broker", "/x", "--timeout=2", "--wait", "3", "blue", "listen", "-l", "80", "--", "cmd", "-x"]
    )
    assert (command.verb, command.namespace) == ("listen", "blue")
    assert command.args == ["-l", "80", "--", "cmd", "-x"]
    assert (command.client.path, command.client.timeout, command.wait_s) == ("/x", 2, 3)


@pytest.mark.parametrize(
    ("args", "verb", "namespace", "rest"),
    [
        (["list"], "list", "", []),
        (["list", "blue", "--json"], "list", "", ["blue", "--json"]),
        (["blue", "list"], "list", "blue", ["blue"]),
        (["list", "connect", "h", "1"], "connect", "list", ["h", "1"]),
        (["blue", "run", "--", "cmd", "-x"], "run", "blue", ["--", "cmd", "-x"]),
        (["blue", "--", "cmd", "--", "x"], "run", "blue", ["--", "cmd", "--", "x"]),
        (["blue", "--", "--help"], "run", "blue", ["--", "--help"]),
        (["list", "--", "cmd"], "run", "list", ["--", "cmd"]),
        (["--help"], "help", "", []),
        (["-h", "blue"], "help", "", []),
        (["blue", "--help"], "help", "", []),
        (["blue", "connect", "--help"], "help", "blue", ["connect"]),
        (["connect", "--help"], "help", "", ["connect"]),
        (["list", "-h"], "help", "", ["list"]),
        (["blue", "resolve", "host"], "resolve", "blue", ["host"]),
        (["--version"], "version", "", []),
    ],
)
def test_verbs(args: list[str], verb: str, namespace: str, rest: list[str]) -> None:
    command = read_command(args)
    assert (command.verb, command.args) == (verb, rest)
    if verb not in ("help", "version"):
        assert command.namespace == namespace


@pytest.mark.parametrize(
    "args", [[], ["blue"], ["blue", "dance"], ["--wait", "61", "list"], ["--timeout", "0", "list"]]
)
def test_wrong_command_lines_are_refused(args: list[str]) -> None:
    with pytest.raises(FailureError) as caught:
        read_command(args)
    assert caught.value.status == 125


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("255", 255), ("0" * 6000 + "9", 9), ("256", None), ("9" * 6000, None), ("", None)]
    + [(text, None) for text in ("-1", "+1", "1_0", " 1", "\u0661", "x")],
)
def test_whole_number_is_digits_up_to_the_most(text: str, number: int | None) -> None:
    """Any number of digits is refused. int() itself gives up at 4,300."""
    assert whole_number(text, 255) == number


@pytest.mark.parametrize("name", ["", "a" * 256, "a" * 70000, "\udcff"])
@pytest.mark.parametrize("verb", [["connect", "::1", "1"], ["resolve", "x"], ["--", "true"]])
def test_name_that_no_namespace_has_is_wrong_usage(name: str, verb: list[str]) -> None:
    with pytest.raises(FailureError, match="a namespace's name is UTF-8 of 1 to 255 bytes") as caught:
        read_command([name, *verb])
    assert caught.value.status == 125
    assert len(str(caught.value)) < 200


def test_path_of_a_namespace_may_be_any() -> None:
    path = "/" + "a" * 300 + "\udcff"
    assert read_command([path, "resolve", "x"]).namespace == path
