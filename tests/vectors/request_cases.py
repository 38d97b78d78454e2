"""Requests, good and bad."""

from __future__ import annotations

import msgpack
from case import Case, bad, good, pair, raw_map, written_out

SPEC = {"ns": "blue", "family": 2, "type": 1}
SPEC_MEANS = {
    **SPEC,
    "proto": 0,
    "bind": None,
    "listen": None,
    "options": [],
    "also": [],
}
SCTP = {**SPEC, "proto": 132, "bind": ["10.0.0.1", 80]}


def head(**changes) -> dict:
    return {"v": 1, "id": 1, "op": "open", **changes}


def request(*specs, **changes) -> dict:
    return {**head(), "sockets": list(specs) or [SPEC], **changes}


def opens(name: str, *specs: dict, fds: int = 0, **changes) -> Case:
    """A request that is encoded as it is meant: what a spec leaves out is the default."""
    means = {"op": "open", "id": changes.get("id", 1), "sockets": [{**SPEC_MEANS, **spec} for spec in specs]}
    added = {"wait": changes.get("wait", 0), "stock": changes.get("stock", 0)}
    return good(name, request(*specs, **changes), {**means, **added}, fds=fds)


def explains(name: str, spec: dict, fds: int = 0, **more) -> Case:
    means = {"op": "explain", "id": 1, "socket": {**SPEC_MEANS, **spec}, "connect": None, **more}
    return good(name, head(op="explain", socket=spec, **more), means, fds=fds)


def bad_explain(name: str, **changes) -> Case:
    return refused(name, {**head(op="explain", socket=SPEC), **changes})


def bad_spec(name: str, **changes) -> Case:
    return bad(name, request(SPEC, {**SPEC, **changes}), code="bad-request", id=1, index=1)


def bad_address(name: str, family: int, address: object) -> Case:
    return bad_spec(name, family=family, bind=address)


def refused(name: str, message: object) -> Case:
    return bad(name, message, code="bad-request", id=1)


def unreadable(name: str, message: object) -> Case:
    return bad(name, message, code="bad-request", id=None)


def without(message: dict, key: str) -> dict:
    return {name: value for name, value in message.items() if name != key}


V, ID, OP, SOCKETS = pair("v", 1), pair("id", 1), pair("op", "open"), pair("sockets", [SPEC])

GOOD = [
    opens("a TCP socket in blue", SPEC),
    opens(
        "a listener in blue, on port 80 of every IPv4 address",
        {**SPEC, "bind": ["0.0.0.0", 80], "listen": 128},
    ),
    opens("non-blocking, in the broker's own namespace", {"ns": "@host", "family": 2, "type": 1 | 2048}),
    opens("UDP on IPv6 with a scope", {**SPEC, "family": 10, "type": 2, "bind": ["fe80::1", 53, 0, 3]}),
    opens(
        "the largest numbers of an IPv6 address", {**SPEC, "family": 10, "bind": ["::", 65535, 2**20 - 1, 2**32 - 1]}
    ),
    opens("an abstract Unix name, not text", {**SPEC, "family": 1, "bind": b"\xff\x00name"}),
    opens("an abstract Unix name of 107 bytes", {**SPEC, "family": 1, "bind": b"n" * 107}),
    opens("a packet socket on eth0", {**SPEC, "family": 17, "type": 3, "bind": ["eth0", 3]}),
    opens("a packet socket on every interface", {**SPEC, "family": 17, "type": 3, "bind": ["", 3]}),
    opens("a raw ICMP socket", {**SPEC, "type": 3, "proto": 1}),
    opens("one socket for a stock", SPEC, stock=1),
    opens("253 sockets for a stock", {**SPEC, "family": 10, "type": 2, "options": [[41, 78, 1]]}, stock=253),
    opens(
        "options: integers of both signs, and bytes",
        {**SPEC, "options": [[1, 2, 1], [1, 36, 2**32 - 1], [0, 1, -(2**31)], [1, 25, b"eth0\0"]]},
    ),
    opens("an SCTP socket at two addresses", {**SCTP, "listen": 128, "also": [["10.0.1.1", 80]]}),
    opens(
        "one-to-many SCTP on IPv6, at addresses with scopes",
        {**SPEC, "family": 10, "type": 5, "proto": 132, "bind": ["fe80::1", 0, 0, 2], "also": [["fe80::1", 0, 0, 3]]},
    ),
    opens("an SCTP socket at 16 addresses", {**SCTP, "also": [[f"10.0.1.{k}", 80] for k in range(15)]}),
    opens("a backlog of 0", {**SPEC, "bind": ["127.0.0.1", 0], "listen": 0}),
    opens("a backlog of 65535", {**SPEC, "bind": ["127.0.0.1", 0], "listen": 65535}),
    opens("a descriptor, named twice", {**SPEC, "ns": {"fd": 0}}, {**SPEC, "ns": {"fd": 0}}, fds=1),
    opens("descriptors named in any order", {**SPEC, "ns": {"fd": 1}}, SPEC, {**SPEC, "ns": {"fd": 0}}, fds=2),
    opens("16 descriptors", *({**SPEC, "ns": {"fd": k}} for k in range(16)), fds=16),
    opens("253 sockets", *[SPEC] * 253),
    opens("a wait of whole seconds", SPEC, wait=60),
    opens("a wait of 1.5 seconds", SPEC, wait=1.5),
    opens("the largest id", SPEC, id=2**63 - 1),
    opens("id 0", SPEC, id=0),
    opens("a name that no namespace has is the broker's to refuse", {**SPEC, "ns": "../etc"}),
    opens("so is an empty one", {**SPEC, "ns": ""}),
    opens("and one with a NUL", {**SPEC, "ns": "a\0b"}),
    opens("a name of 1020 bytes", {**SPEC, "ns": "n" * 1020}),
    opens("a name of 255 characters, 1020 bytes", {**SPEC, "ns": "\U0001f600" * 255}),
    good("which namespaces may I use", head(op="namespaces"), {"op": "namespaces", "id": 1, "engines": False}),
    good(
        "with the faults of engines",
        head(op="namespaces", engines=True),
        {"op": "namespaces", "id": 1, "engines": True},
    ),
    refused("engines that is a number", head(op="namespaces", engines=1)),
    good("how are names looked up", head(op="resolver", ns="blue"), {"op": "resolver", "id": 1, "ns": "blue"}),
    good(
        "how are names looked up in a namespace that is sent",
        head(op="resolver", ns={"fd": 0}),
        {"op": "resolver", "id": 1, "ns": {"fd": 0}},
        fds=1,
    ),
    explains("may I have a TCP socket in blue", SPEC),
    explains("may I connect to an IPv4 address", SPEC, connect=["10.0.0.1", 443]),
    explains(
        "may I bind, listen and connect, in a namespace that is sent",
        {**SPEC, "ns": {"fd": 0}, "family": 10, "bind": ["::", 80, 0, 0], "listen": 8, "options": [[1, 36, 16]]},
        fds=1,
        connect=["fd00::1", 443, 0, 0],
    ),
    written_out(
        "defaults may be written out",
        request({**SPEC, "proto": 0, "options": [], "also": []}, wait=0),
        request(),
        {"op": "open", "id": 1, "sockets": [SPEC_MEANS], "wait": 0, "stock": 0},
    ),
    written_out(
        "keys come in any order",
        dict(reversed(request(dict(reversed(SPEC.items()))).items())),
        request(),
        {"op": "open", "id": 1, "sockets": [SPEC_MEANS], "wait": 0, "stock": 0},
    ),
]

UNREADABLE = [
    unreadable("an empty packet", b""),
    unreadable("a truncated packet", msgpack.packb(request())[:-1]),
    unreadable("a byte too many", msgpack.packb(request()) + b"\xc0"),
    unreadable("two maps", msgpack.packb(request()) * 2),
    unreadable("text", b"GET / HTTP/1.1\r\n\r\n"),
    unreadable("a list", [1, 2, 3]),
    unreadable("an integer as a key", {**request(), 1: 1}),
    unreadable("65537 bytes", msgpack.packb(request(SPEC, pad="n" * 65450))[:65400].ljust(65537, b"n")),
    unreadable("id twice", raw_map(V, ID, pair("id", 2), OP, SOCKETS)),
    unreadable("the same key twice with the same value", raw_map(V, ID, ID, OP, SOCKETS)),
    unreadable(
        "a key twice, its length made up for by a short float",
        raw_map(V, ID, pair("id", 2), OP, SOCKETS, msgpack.packb("wait") + b"\xca\x3f\x80\x00\x00"),
    ),
    unreadable(
        "a key twice in a spec",
        raw_map(
            V,
            ID,
            OP,
            msgpack.packb("sockets")
            + b"\x91"
            + raw_map(pair("ns", "blue"), pair("ns", "red"), pair("family", 2), pair("type", 1)),
        ),
    ),
    unreadable("float 32", raw_map(V, ID, OP, SOCKETS, msgpack.packb("wait") + b"\xca\x3f\x80\x00\x00")),
    unreadable("1 as a 16-bit integer", raw_map(V, msgpack.packb("id") + b"\xcd\x00\x01", OP, SOCKETS)),
    unreadable(
        "a positive integer in a signed format of the same length",
        raw_map(V, msgpack.packb("id") + b"\xd1\x01\x00", OP, SOCKETS),
    ),
    unreadable("a long length prefix", raw_map(V, ID, msgpack.packb("op") + b"\xd9\x04open", SOCKETS)),
    unreadable("text that is not UTF-8", raw_map(V, ID, msgpack.packb("op") + b"\xa4\xff\xff\xff\xff", SOCKETS)),
    unreadable("an extension type", {**request(), "wait": msgpack.Timestamp(1)} | {"id": msgpack.ExtType(5, b"1")}),
    unreadable(
        "a list that claims 2^32-1 items", raw_map(V, ID, OP, msgpack.packb("sockets") + b"\xdd\xff\xff\xff\xff")
    ),
    unreadable("lists in lists that claim 65535 items each", b"\xdc\xff\xff" * 21845),
    unreadable("1025 sockets", request(*[1] * 1025)),
    unreadable("no id", without(request(), "id")),
    unreadable("id nil", request(id=None)),
    unreadable("id true", request(id=True)),
    unreadable("id as text", request(id="1")),
    unreadable("id -1", request(id=-1)),
    unreadable("id 2^63", request(id=2**63)),
    unreadable("id 1.0", request(id=1.0)),
]

REFUSED = [
    bad("version 2", request(v=2), code="unsupported-version", id=1),
    bad("version 0", request(v=0), code="unsupported-version", id=1),
    bad("version true", request(v=True), code="unsupported-version", id=1),
    bad("no version", without(request(), "v"), code="unsupported-version", id=1),
    bad("version 2 with keys of its own", {"v": 2, "id": 1, "new": 1}, code="unsupported-version", id=1),
    refused("an unknown op", head(op="close")),
    refused("no op", without(request(), "op")),
    refused("op as bytes", request(op=b"open")),
    refused("an unknown key", request(limit=[])),
    refused("a key as bytes", {**request(), b"wait": 1}),
    refused("an unknown key of resolver", head(op="resolver", ns="blue", wait=1)),
    refused("resolver without a namespace", head(op="resolver")),
    refused("resolver of the second descriptor alone", head(op="resolver", ns={"fd": 1})),
    refused("an unknown key of namespaces", head(op="namespaces", sockets=[])),
    bad_explain("an unknown key of explain", wait=1),
    bad_explain("sockets in explain", sockets=[SPEC]),
    refused("explain without a socket", head(op="explain")),
    bad_explain("a list of sockets to explain", socket=[SPEC]),
    bad_explain("an unknown key in the socket to explain", socket={**SPEC, "connect": ["10.0.0.1", 443]}),
    bad_explain("explain of the second descriptor alone", socket={**SPEC, "ns": {"fd": 1}}),
    bad_explain("connect nil", connect=None),
    bad_explain("connect to a name", connect=["localhost", 80]),
    bad_explain("connect to an address of another family", connect=["::1", 80, 0, 0]),
    bad_explain("connect to a port 65536", connect=["10.0.0.1", 65536]),
    bad_explain("connect of a packet socket", socket={**SPEC, "family": 17, "type": 3}, connect=["eth0", 3]),
    bad_explain("connect of a Unix socket", socket={**SPEC, "family": 1}, connect=b"name"),
    refused("no sockets", head()),
    refused("an empty list of sockets", head(sockets=[])),
    refused("254 sockets", request(*[SPEC] * 254)),
    refused("sockets as a map", head(sockets=SPEC)),
    refused("stock 0", request(stock=0)),
    refused("stock 254", request(stock=254)),
    refused("stock true", request(stock=True)),
    refused("stock nil", request(stock=None)),
    refused("a stock of two specs", request(SPEC, SPEC, stock=2)),
    refused("a stock that waits", request(wait=1, stock=2)),
    refused("a stock of a bound socket", request({**SPEC, "bind": ["0.0.0.0", 80]}, stock=2)),
    refused("a stock of a listener", request({**SPEC, "listen": 1}, stock=2)),
    refused("a stock of packet sockets", request({**SPEC, "family": 17, "type": 3}, stock=2)),
    refused("a stock in a namespace that was sent", request({**SPEC, "ns": {"fd": 0}}, stock=2)),
    refused("wait -1", request(wait=-1)),
    refused("wait 61", request(wait=61)),
    refused("wait 60.5", request(wait=60.5)),
    refused("wait NaN", request(wait=float("nan"))),
    refused("wait infinity", request(wait=float("inf"))),
    refused("wait true", request(wait=True)),
    refused("wait nil", request(wait=None)),
    refused("wait as text", request(wait="1")),
    refused("only descriptor 1 is named", request({**SPEC, "ns": {"fd": 1}})),
    refused("descriptor 1 is left out", request({**SPEC, "ns": {"fd": 0}}, {**SPEC, "ns": {"fd": 2}})),
]

BAD_SPECS = [
    bad("a spec that is no map", request(SPEC, "blue"), code="bad-request", id=1, index=1),
    bad("a spec without a namespace", request(without(SPEC, "ns")), code="bad-request", id=1, index=0),
    bad("a spec without a family", request(SPEC, without(SPEC, "family")), code="bad-request", id=1, index=1),
    bad("a spec without a type", request(without(SPEC, "type")), code="bad-request", id=1, index=0),
    bad_spec("an unknown key in a spec", limit=["10.0.0.0/8:443"]),
    bad_spec("a namespace as bytes", ns=b"blue"),
    bad_spec("a namespace as a number", ns=1),
    bad_spec("a name of 1021 bytes", ns="n" * 1021),
    bad_spec("descriptor -1", ns={"fd": -1}),
    bad_spec("descriptor 16", ns={"fd": 16}),
    bad_spec("descriptor true", ns={"fd": True}),
    bad_spec("a pid as the namespace", ns={"pid": 1}),
    bad_spec("a descriptor with a further key", ns={"fd": 0, "type": 1}),
    bad_spec("family -1", family=-1),
    bad_spec("family 2^31", family=2**31),
    bad_spec("family true", family=True),
    bad_spec("family as text", family="AF_INET"),
    bad_spec("SOCK_CLOEXEC in the type", type=1 | 0o2000000),
    bad_spec("type 16", type=16),
    bad_spec("type 1.0", type=1.0),
    bad_spec("proto nil", proto=None),
    bad_spec("proto -1", proto=-1),
    bad_spec("listen -1", listen=-1),
    bad_spec("listen 65536", listen=65536),
    bad_spec("listen true", listen=True),
    bad_spec("further addresses of TCP", **{**SCTP, "proto": 6, "also": [["10.0.1.1", 80]]}),
    bad_spec("further addresses without bind", **{**without(SCTP, "bind"), "also": [["10.0.1.1", 80]]}),
    bad_spec("a further address on another port", **{**SCTP, "also": [["10.0.1.1", 81]]}),
    bad_spec("a further address of another family", **{**SCTP, "also": [["::1", 80, 0, 0]]}),
    bad_spec("a further address that is a name", **{**SCTP, "also": [["localhost", 80]]}),
    bad_spec("16 further addresses", **{**SCTP, "also": [["10.0.1.1", 80]] * 16}),
    bad_spec("further addresses of a Unix socket", **{**SCTP, "family": 1, "bind": b"x", "also": [b"y"]}),
    bad_spec("a further address that is no list", **{**SCTP, "also": ["10.0.1.1", 80]}),
    bad_spec("options as a map", options={"level": 1}),
    bad_spec("33 options", options=[[1, 2, 1]] * 33),
    bad_spec("an option of two", options=[[1, 2]]),
    bad_spec("an option that is a boolean", options=[[1, 2, True]]),
    bad_spec("an option as text", options=[[1, 25, "eth0"]]),
    bad_spec("an option of 257 bytes", options=[[1, 25, b"x" * 257]]),
    bad_spec("an option past 2^32-1", options=[[1, 2, 2**32]]),
    bad_spec("an option below -2^31", options=[[1, 2, -(2**31) - 1]]),
    bad_spec("a negative level", options=[[-1, 2, 1]]),
]

BAD_ADDRESSES = [
    bad_address("bind nil", 2, None),
    bad_address("a host name", 2, ["localhost", 80]),
    bad_address("an empty host", 2, ["", 80]),
    bad_address("an IPv4 address with three numbers", 2, ["127.0.1", 80]),
    bad_address("an IPv4 address with a NUL after it", 2, ["127.0.0.1\0", 80]),
    bad_address("an IPv6 address for AF_INET", 2, ["::1", 80]),
    bad_address("an IPv4 address for AF_INET6", 10, ["127.0.0.1", 80, 0, 0]),
    bad_address("a scope by name", 10, ["fe80::1%eth0", 80, 0, 0]),
    bad_address("an IPv6 address of two", 10, ["::1", 80]),
    bad_address("an IPv4 address of four", 2, ["127.0.0.1", 80, 0, 0]),
    bad_address("a host as bytes", 2, [b"127.0.0.1", 80]),
    bad_address("port 65536", 2, ["127.0.0.1", 65536]),
    bad_address("port -1", 2, ["127.0.0.1", -1]),
    bad_address("port true", 2, ["127.0.0.1", True]),
    bad_address("port as text", 2, ["127.0.0.1", "80"]),
    bad_address("flowinfo 2^20", 10, ["::1", 80, 2**20, 0]),
    bad_address("scope id 2^32", 10, ["::1", 80, 0, 2**32]),
    bad_address("a Unix name as text", 1, "name"),
    bad_address("a Unix name of 108 bytes", 1, b"n" * 108),
    bad_address("an interface of 16 bytes", 17, ["e" * 16, 3]),
    bad_address("an interface with a slash", 17, ["../eth0", 3]),
    bad_address("a packet address of three", 17, ["eth0", 3, 0]),
    bad_address("a link-layer protocol of 65536", 17, ["eth0", 65536]),
    bad_address("an address for netlink", 16, [0, 1]),
]

CASES = GOOD + UNREADABLE + REFUSED + BAD_SPECS + BAD_ADDRESSES
