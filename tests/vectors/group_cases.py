"""Grouped requests and their replies, good and bad."""

from __future__ import annotations

from case import Case, bad, good
from reply_cases import BLUE, LARGEST, RED
from request_cases import SPEC, SPEC_MEANS, head, without

SHAPE = without(SPEC, "ns")
LISTENER = {**SHAPE, "bind": ["0.0.0.0", 0], "listen": 128}


def asks(name: str, *groups: tuple[dict, list], fds: int = 0) -> Case:
    """A grouped request. It means one socket after the other."""
    sockets = []
    for shape, each in groups:
        for namespace, *numbers in each:
            for number in numbers if "bind" in shape and shape["family"] in (2, 10) else range(numbers[0]):
                spec = {**SPEC_MEANS, **shape, "ns": namespace}
                if spec["bind"] and shape["family"] in (2, 10):
                    spec["bind"] = [spec["bind"][0], number, *spec["bind"][2:]]
                sockets.append(spec)
    message = {**head(), "sockets": [{**shape, "each": each} for shape, each in groups]}
    return good(name, message, {"op": "open", "id": 1, "sockets": sockets, "wait": 0, "grouped": True}, fds=fds)


def refused(name: str, *specs: object, index: int | None = 0) -> Case:
    error = {"code": "bad-request", "id": 1, **({} if index is None else {"index": index})}
    return bad(name, {**head(), "sockets": list(specs)}, **error)


def bad_each(name: str, each: object, shape: dict = LISTENER) -> Case:
    return refused(name, {**shape, "each": each})


REQUESTS = [
    asks("16 sockets in blue", (SHAPE, [["blue", 16]])),
    asks("listeners on two ports in each of two namespaces", (LISTENER, [["blue", 80, 443], ["red", 80, 443]])),
    asks("listeners on other ports in each namespace", (LISTENER, [["blue", 80], ["red", 0, 65535, 0]])),
    asks(
        "IPv6 with a scope",
        ({**SHAPE, "family": 10, "bind": ["fe80::1", 0, 7, 3], "listen": 0}, [["blue", 53, 54]]),
    ),
    asks("two groups", (SHAPE, [["blue", 2]]), ({**SHAPE, "type": 2, "options": [[1, 2, 1]]}, [["blue", 1]])),
    asks("packet sockets with a protocol", ({**SHAPE, "family": 17, "type": 3, "bind": ["", 3]}, [["blue", 2]])),
    asks("a namespace that comes again", (SHAPE, [["blue", 1], ["red", 1], ["blue", 1]])),
    asks("descriptors", (SHAPE, [[{"fd": 0}, 1], [{"fd": 1}, 2]]), fds=2),
    asks("253 sockets in a group", (SHAPE, [["blue", 200], ["red", 53]])),
    refused("a group with a namespace", {**SPEC, "each": [["blue", 1]]}),
    refused(
        "a group of SCTP sockets with further addresses",
        {**LISTENER, "proto": 132, "also": [["10.0.1.1", 0]], "each": [["blue", 80]]},
    ),
    refused("a port in a group's bind", {**LISTENER, "bind": ["0.0.0.0", 80], "each": [["blue", 80]]}),
    refused("a group beside a plain spec", SPEC, {**SHAPE, "each": [["blue", 1]]}, index=None),
    refused("a plain spec after a group", {**SHAPE, "each": [["blue", 1]]}, SPEC, index=None),
    refused("the second group is wrong", {**SHAPE, "each": [["blue", 3]]}, {**SHAPE, "each": []}, index=3),
    refused("a wrong group after 253 sockets", {**SHAPE, "each": [["blue", 253]]}, {**SHAPE, "each": []}, index=None),
    refused("254 sockets in two groups", *[{**SHAPE, "each": [["blue", 127]]}] * 2, index=None),
    bad_each("an empty group", []),
    bad_each("each as text", "blue"),
    bad_each("each as a map", {"blue": [80]}),
    bad_each("a namespace without its list", ["blue", 80]),
    bad_each("a namespace without a port", [["blue"]]),
    bad_each("a port before its namespace", [[80, "blue"]]),
    bad_each("port 65536 in a group", [["blue", 65536]]),
    bad_each("port -1 in a group", [["blue", -1]]),
    bad_each("port true in a group", [["blue", True]]),
    bad_each("port 80.0 in a group", [["blue", 80.0]]),
    bad_each("254 ports", [["blue", *range(1, 255)]]),
    bad_each("no socket in a namespace", [["blue", 0]], SHAPE),
    bad_each("-1 sockets", [["blue", -1]], SHAPE),
    bad_each("true sockets", [["blue", True]], SHAPE),
    bad_each("two numbers of sockets", [["blue", 1, 2]], SHAPE),
    bad_each("254 sockets in a group", [["blue", 254]], SHAPE),
    bad_each("2^64-1 sockets", [["blue", 2**64 - 1]], SHAPE),
    refused("a group of a wrong shape", {**SHAPE, "family": -1, "each": [["blue", 1]]}),
    refused("an unknown key of a group", {**SHAPE, "more": 1, "each": [["blue", 1]]}),
    bad(
        "a group for a stock",
        {**head(), "sockets": [{**SHAPE, "each": [["blue", 1]]}], "stock": 2},
        code="bad-request",
        id=1,
    ),
    bad(
        "a group in a question",
        head(op="explain", socket={**SHAPE, "each": [["blue", 1]]}),
        code="bad-request",
        id=1,
    ),
]


def answered(cookies: object, namespaces: object = (BLUE,), **more) -> dict:
    return {"id": 1, "namespaces": namespaces, "cookies": cookies, **more}


def answers(name: str, cookies: list, namespaces: tuple = (BLUE,)) -> Case:
    sockets = [{"cookie": one, "address": None, "ns": index} for index, *some in cookies for one in some]
    means = {"id": 1, "namespaces": namespaces, "sockets": sockets, "grouped": True}
    return good(name, answered(cookies, namespaces), means)


REPLIES = [
    answers("three sockets in blue", [[0, 7, 8, LARGEST]]),
    answers("sockets in two namespaces", [[0, 7], [1, 8, 9], [0, 10]], (BLUE, RED)),
    answers("253 cookies", [[0, *range(1, 254)]]),
    bad("no cookies", answered([])),
    bad("a namespace without a cookie", answered([[0]])),
    bad("cookies as a map", answered({0: [7]})),
    bad("cookies without a namespace's index", answered([7])),
    bad("cookie 0 in a short reply", answered([[0, 0]])),
    bad("cookie true in a short reply", answered([[0, True]])),
    bad("cookie -1 in a short reply", answered([[0, -1]])),
    bad("a namespace that is not there, in a short reply", answered([[1, 7]])),
    bad("namespace -1 in a short reply", answered([[-1, 7]])),
    bad("namespace false in a short reply", answered([[False, 7]])),
    bad("254 cookies", answered([[0, *range(1, 255)]])),
    bad("254 cookies in two runs", answered([[0, *range(1, 128)]] * 2)),
    bad("sockets and cookies", answered([[0, 7]], sockets=[{"cookie": 7}])),
    bad("cookies and no namespaces", without(answered([[0, 7]]), "namespaces")),
    bad("an unknown key of a short reply", answered([[0, 7]], more=1)),
]
