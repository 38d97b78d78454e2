"""Replies and blobs, good and bad."""

from __future__ import annotations

from dataclasses import replace

import msgpack
from case import Case, bad, good, pair, raw_map, written_out

SOCKET = {"cookie": 7}
BLUE = [4097, 4, 4026532281]
RED = [8193, 4, 4026532402]
LARGEST = 2**64 - 1


def opened(*made: dict, namespaces: object = (BLUE,)) -> dict:
    return {"id": 1, "namespaces": namespaces, "sockets": list(made)}


def sockets(name: str, *made: dict, namespaces: tuple = (BLUE,)) -> Case:
    return answered(name, opened(*made, namespaces=namespaces))


def answered(name: str, reply: dict) -> Case:
    made = [{"address": None, "ns": 0, **one} for one in reply["sockets"]]
    return good(name, reply, {"peer_group": None, **reply, "sockets": made})


def error(code: str, request_id: object = 1, **more) -> dict:
    return {"id": request_id, "error": {"code": code, "message": "said plainly", **more}}


def refusal(name: str, code: str, request_id: int | None = 1, **more) -> Case:
    body = {"code": code, "message": "said plainly", **more}
    means = {"id": request_id, "error": {"errno": None, "index": None, **body}}
    return good(name, {"id": request_id, "error": body}, means)


def bad_socket(name: str, /, **changes) -> Case:
    return bad(name, opened({**SOCKET, **changes}))


def bad_namespaces(name: str, namespaces: object) -> Case:
    return bad(name, opened(SOCKET, namespaces=namespaces))


CASES = [
    sockets("one socket that the broker did not bind", SOCKET),
    sockets("bound to an IPv4 address", {**SOCKET, "address": ["0.0.0.0", 80]}),
    sockets("bound to an IPv6 address", {**SOCKET, "address": ["fe80::1", 80, 0, 3]}),
    sockets("bound to an abstract name", {**SOCKET, "address": b"\xffname"}),
    sockets("bound to an interface", {**SOCKET, "address": ["eth0", 3]}),
    sockets("the largest numbers", {"cookie": LARGEST}, namespaces=([LARGEST] * 3,)),
    sockets("253 sockets", *[SOCKET] * 253),
    answered("sockets for a stock", {**opened(SOCKET, {"cookie": 8}), "peer_group": 1}),
    answered("sockets for a stock, of a broker whose mount is private", {**opened(SOCKET), "peer_group": 0}),
    answered("the largest peer group", {**opened(SOCKET), "peer_group": 2**31 - 1}),
    sockets("sockets of two namespaces", SOCKET, {**SOCKET, "ns": 1}, SOCKET, namespaces=(BLUE, RED)),
    sockets(
        "253 namespaces",
        *({**SOCKET, **({"ns": n} if n else {})} for n in range(253)),
        namespaces=tuple([n + 1, 4, 4026532281 + n] for n in range(253)),
    ),
    written_out(
        "the first namespace written out",
        opened({"cookie": 7, "ns": 0}),
        opened(SOCKET),
        {**opened({"cookie": 7, "ns": 0, "address": None}), "peer_group": None},
    ),
    good("a blob", {"id": 1, "blob": 2**26}, {"id": 1, "blob": 2**26}),
    refusal("bad-request, id not read", "bad-request", None),
    refusal("overloaded, as the first packet of a connection", "overloaded", None),
    refusal("denied, the third socket", "denied", index=2),
    refusal("no such namespace, the last of 253", "no-such-namespace", index=252),
    refusal("EADDRINUSE of the first socket", "os-error", errno=98, index=0),
    refusal("unsupported-version", "unsupported-version"),
    bad("an empty packet", b""),
    bad("a list", [1]),
    bad("an empty map", {}),
    bad("neither sockets nor blob nor error", {"id": 1}),
    bad("sockets and a blob", {**opened(SOCKET), "blob": 1}),
    bad("sockets and an error", {**opened(SOCKET), **error("denied")}),
    bad("an unknown key", {**opened(SOCKET), "more": 1}),
    bad("a peer group that is nil", {**opened(SOCKET), "peer_group": None}),
    bad("a negative peer group", {**opened(SOCKET), "peer_group": -1}),
    bad("a peer group that is too large", {**opened(SOCKET), "peer_group": 2**31}),
    bad("a peer group that is true", {**opened(SOCKET), "peer_group": True}),
    bad("a peer group of a blob", {"id": 1, "blob": 1, "peer_group": 1}),
    bad("id twice", raw_map(pair("id", 1), pair("id", 2), pair("blob", 1))),
    bad("sockets without an id", {"namespaces": [BLUE], "sockets": [SOCKET]}),
    bad("sockets with id nil", {**opened(SOCKET), "id": None}),
    bad("sockets without namespaces", {"id": 1, "sockets": [SOCKET]}),
    bad("namespaces without sockets", {"id": 1, "namespaces": [BLUE]}),
    bad("an error without an id", {"error": error("denied")["error"]}),
    bad("an error with id true", error("denied", True)),
    bad("no sockets", opened()),
    bad("254 sockets", opened(*[SOCKET] * 254)),
    bad("a socket that is no map", {"id": 1, "namespaces": [BLUE], "sockets": [7]}),
    bad("a socket without its cookie", opened({"ns": 0})),
    bad_namespaces("no namespaces", []),
    bad_namespaces("254 namespaces", [[n + 1, 4, 5] for n in range(254)]),
    bad_namespaces("namespaces that are a map", {}),
    bad_namespaces("a namespace as its cookie alone", [4097]),
    bad_namespaces("a namespace of two", [BLUE[:2]]),
    bad_namespaces("a namespace of four", [[*BLUE, 1]]),
    bad_namespaces("a namespace's cookie 0", [[0, *BLUE[1:]]]),
    bad_namespaces("a namespace's device -1", [[4097, -1, 1]]),
    bad_namespaces("a namespace's inode true", [[4097, 4, True]]),
    bad_namespaces("a namespace twice", [BLUE, RED, BLUE]),
    bad_socket("an unknown key in a socket", fd=3),
    bad_socket("cookie 0", cookie=0),
    bad_socket("cookie -1", cookie=-1),
    bad_socket("ns true", ns=True),
    bad_socket("ns -1", ns=-1),
    bad_socket("a namespace that is not there", ns=1),
    bad_socket("a namespace by its cookie", netns=4097),
    bad_socket("address nil", address=None),
    bad_socket("an address as text", address="0.0.0.0:80"),
    bad_socket("an address of three", address=["0.0.0.0", 80, 0]),
    bad_socket("an address with a port as text", address=["0.0.0.0", "80"]),
    bad_socket("an abstract name of 108 bytes", address=b"n" * 108),
    bad("a blob of 2^26+1 bytes", {"id": 1, "blob": 2**26 + 1}),
    bad("a blob of -1 bytes", {"id": 1, "blob": -1}),
    bad("an error that is no map", {"id": 1, "error": "denied"}),
    bad("an error without a message", {"id": 1, "error": {"code": "denied"}}),
    bad("an error without a code", {"id": 1, "error": {"message": "said plainly"}}),
    bad("an unknown code", error("forbidden")),
    bad("os-error without errno", error("os-error")),
    bad("errno with another code", error("denied", errno=13)),
    bad("errno 0", error("os-error", errno=0)),
    bad("errno 4096", error("os-error", errno=4096)),
    bad("index 253", error("denied", index=253)),
    bad("index nil", error("denied", index=None)),
    bad("an unknown key in an error", error("denied", hint="ask")),
    bad("65537 bytes", msgpack.packb(error("denied") | {"pad": "n" * 65450})[:65400].ljust(65537, b"n")),
]

GRANT = {"name": "web", "sockets": ["tcp", "raw:icmp"]}
NO_LIMIT = {"connect": None, "bind": None}
GRANT_MEANS = {**GRANT, "bind": [], "options": [], "limit": NO_LIMIT}


def limited(name: str, **limit: list[str]) -> Case:
    means = {**GRANT_MEANS, "limit": {**NO_LIMIT, **limit}}
    return good(name, {"grants": [{**GRANT, "limit": limit}], "namespaces": []}, {"grants": [means], "namespaces": []})


def bad_answer(name: str, grants: object = (), namespaces: object = ()) -> Case:
    return bad(name, {"grants": grants, "namespaces": namespaces})


NAMESPACES = [
    good("nothing at all", {"grants": [], "namespaces": []}, {"grants": [], "namespaces": []}),
    good(
        "one grant for two namespaces, one for none",
        {
            "grants": [GRANT, {**GRANT, "bind": ["*:80"], "options": ["mark=0x10"]}],
            "namespaces": [["@host", [0]], ["blue", [0]]],
        },
        {
            "grants": [GRANT_MEANS, {**GRANT_MEANS, "bind": ["*:80"], "options": ["mark=0x10"]}],
            "namespaces": [["@host", [0]], ["blue", [0]]],
        },
    ),
    good(
        "more namespaces than a list of a packet may have",
        {"grants": [GRANT], "namespaces": [[f"ns{n}", [0]] for n in range(1100)]},
        {"grants": [GRANT_MEANS], "namespaces": [[f"ns{n}", [0]] for n in range(1100)]},
    ),
    limited("a limit for connecting, none for binding", connect=["10.0.0.0/8:443", "[fd00::/8]:8000-8999"]),
    limited("a limit for binding, none for connecting", bind=["*:80"]),
    limited("no place to connect to, which is not the same as no limit", connect=[], bind=["*:80"]),
    limited("nowhere at all", connect=[], bind=[]),
    written_out(
        "defaults written out",
        {"grants": [{**GRANT_MEANS, "limit": {}}], "namespaces": []},
        {"grants": [GRANT], "namespaces": []},
        {"grants": [GRANT_MEANS], "namespaces": []},
    ),
    bad("an unknown key", {"grants": [], "namespaces": [], "more": 1}),
    bad("no namespaces", {"grants": []}),
    bad_answer("a grant that is no map", ["web"]),
    bad_answer("an unknown key in a grant", [{**GRANT, "limits": {}}]),
    bad_answer("a grant without a name", [{"sockets": []}]),
    bad_answer("kinds as one string", [{"name": "web", "sockets": "tcp"}]),
    bad_answer("a limit that is no map", [{**GRANT, "limit": []}]),
    bad_answer("a limit that is nil", [{**GRANT, "limit": None}]),
    bad_answer("an unknown key in a limit", [{**GRANT, "limit": {"connect": [], "listen": []}}]),
    bad_answer("a limit for connecting that is nil", [{**GRANT, "limit": {"connect": None}}]),
    bad_answer("a limit for binding as one string", [{**GRANT, "limit": {"bind": "*:80"}}]),
    bad_answer("a limit with a number", [{**GRANT, "limit": {"bind": [80]}}]),
    bad_answer("a namespace without its grants", [GRANT], [["blue"]]),
    bad_answer("a namespace of three", [GRANT], [["blue", [0], 1]]),
    bad_answer("a grant that is not there", [GRANT], [["blue", [1]]]),
    bad_answer("grant -1", [GRANT], [["blue", [-1]]]),
    bad_answer("a namespace as bytes", [GRANT], [[b"blue", [0]]]),
]

FAULTS = {"podman": "it does not answer"}
NAMESPACES = [
    *(replace(case, means={"engines": {}, **case.means}) if case.means else case for case in NAMESPACES),
    good(
        "an engine that does not answer",
        {"grants": [], "namespaces": [], "engines": FAULTS},
        {"grants": [], "namespaces": [], "engines": FAULTS},
    ),
    bad("engines as a list", {"grants": [], "namespaces": [], "engines": ["podman"]}),
    bad("an engine without a reason", {"grants": [], "namespaces": [], "engines": {"podman": None}}),
]

FILES = {"resolv_conf": "nameserver 192.0.2.53\n", "hosts": "", "origin": "/etc/netns/blue/resolv.conf"}
MORE = {"gai.conf": "precedence ::ffff:0:0/96 100\n", "later.conf": ""}

RESOLVER = [
    good("the files of a namespace", FILES, {**FILES, "files": {}}),
    good("further files, one of which no client knows", {**FILES, "files": MORE}, {**FILES, "files": MORE}),
    bad("an unknown key", {**FILES, "services": ""}),
    bad("files as a list", {**FILES, "files": ["gai.conf"]}),
    bad("a file as bytes", {**FILES, "files": {"gai.conf": b""}}),
    bad("no hosts", {key: text for key, text in FILES.items() if key != "hosts"}),
    bad("a text as bytes", {**FILES, "hosts": b""}),
]

LACKS = [["sockets", "udp"], ["limit.connect", "10.0.0.1:53"]]


def explains(name: str, /, lacks: object = ((),), **answer) -> Case:
    """An answer about one grant, which lacks nothing unless the case says so."""
    body = {**answer, "grants": [GRANT], "lacks": lacks}
    defaults = {"reason": None, "by": None, "binds_as_root": False, "exists": True}
    return good(name, body, {**defaults, **body, "grants": [GRANT_MEANS]})


def bad_explanation(name: str, /, **changes) -> Case:
    return bad(name, {"by": 0, "grants": [GRANT], "lacks": [[]], **changes})


EXPLAIN = [
    explains("allowed", by=0),
    explains(
        "allowed, bound by the broker's rights, in a namespace that does not exist",
        by=0,
        binds_as_root=True,
        exists=False,
    ),
    explains("denied, with the rules that the grant lacks", reason="said plainly", lacks=[LACKS]),
    explains("a socket without the connection", reason="said plainly", by=0, lacks=[LACKS[1:]]),
    good(
        "denied, without any grant there",
        {"reason": "said plainly", "grants": [], "lacks": []},
        {"reason": "said plainly", "by": None, "binds_as_root": False, "exists": True, "grants": [], "lacks": []},
    ),
    written_out(
        "defaults of an explanation written out",
        {"by": 0, "binds_as_root": False, "exists": True, "grants": [GRANT], "lacks": [[]]},
        {"by": 0, "grants": [GRANT], "lacks": [[]]},
        {"reason": None, "by": 0, "binds_as_root": False, "exists": True, "grants": [GRANT_MEANS], "lacks": [[]]},
    ),
    bad("neither a reason nor a grant", {"grants": [GRANT], "lacks": [[]]}),
    bad_explanation("an unknown key", more=1),
    bad_explanation("a reason that is nil", reason=None),
    bad_explanation("by a grant that is not there", by=1),
    bad_explanation("by grant -1", by=-1),
    bad_explanation("by true", by=True),
    bad_explanation("binds_as_root 1", binds_as_root=1),
    bad_explanation("exists nil", exists=None),
    bad_explanation("grants as a map", grants={}),
    bad_explanation("lacks for too few grants", lacks=[]),
    bad_explanation("lacks for too many grants", lacks=[[], []]),
    bad_explanation("a lack without its rule", lacks=[[["sockets"]]]),
    bad_explanation("a lack as text", lacks=[["sockets udp"]]),
    bad_explanation("a rule that is a number", lacks=[[["bind", 80]]]),
]
