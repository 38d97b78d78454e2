"""Writes the *.json of this folder: packets, and what they mean. Run it by hand after a change of the cases.

The packets are built from plain maps here, not by nsbroker.wire, so that they say what the protocol is, not what the
code does. What the files hold is told in client/docs/protocol.md, section 8.
"""

from __future__ import annotations

import json
from pathlib import Path

import group_cases
import reply_cases
import request_cases
from case import Case


def as_json(value: object) -> object:
    """Give `value` as JSON can carry it: bytes as hex, integers past 2^53 as text."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if type(value) is int and value > 2**53:
        return {"int": str(value)}
    return value


def entry(case: Case) -> dict[str, object]:
    """One item of `vectors`."""
    vector: dict[str, object] = {"name": case.name, "packet": case.packet.hex()}
    if case.fds:
        vector["fds"] = case.fds
    if case.error is not None:
        return {**vector, "error": case.error}
    vector["means"] = as_json(case.means)
    if case.encodes_to is not None:
        vector["encodes_to"] = case.encodes_to.hex()
    return vector


def document(about: str, cases: list[Case]) -> str:
    names = [case.name for case in cases]
    assert len(names) == len(set(names)), "two cases have one name"
    lines = ",\n".join(json.dumps(entry(case), ensure_ascii=False) for case in cases)
    return f'{{"about": {json.dumps(about)}, "vectors": [\n{lines}\n]}}\n'


def documents() -> dict[str, str]:
    """Every file of this folder that is generated, by its name."""
    about = "See client/docs/protocol.md, section 8."
    return {
        "requests.json": document(f"Packets from client to broker. {about}", request_cases.CASES),
        "replies.json": document(f"Packets from broker to client. {about}", reply_cases.CASES),
        "grouped_requests.json": document(f"Grouped packets from client to broker. {about}", group_cases.REQUESTS),
        "grouped_replies.json": document(f"Short packets from broker to client. {about}", group_cases.REPLIES),
        "namespaces.json": document(f"Blobs that answer the op namespaces. {about}", reply_cases.NAMESPACES),
        "explain.json": document(f"Blobs that answer the op explain. {about}", reply_cases.EXPLAIN),
        "resolver.json": document(f"Blobs that answer the op resolver. {about}", reply_cases.RESOLVER),
    }


if __name__ == "__main__":
    for name, text in documents().items():
        Path(__file__).with_name(name).write_text(text)
