"""Questions to name servers and their answers, as values and as bytes. dnspython reads and writes the names."""

from __future__ import annotations

import re
import socket
from struct import unpack_from

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from ...wire.record import Record

A = 1
PTR = 12
AAAA = 28

NOERROR = 0
FORMERR = 1
SERVFAIL = 2
NXDOMAIN = 3
BAD_ANSWER = -1
"""Stands for a response code if the answer can't be read."""

_HEADER_BYTES = 12
_RECORD_BYTES = 10
"""Of a record without its name and its data."""
_MOST_LABELS = 50_000
"""Of all names of an answer. A pointer of two bytes stands for up to 127 labels, so a million of them fit. 4,000
addresses of one name have less than this."""
_FAMILIES = {A: socket.AF_INET, AAAA: socket.AF_INET6}
_EDNS_PAYLOAD_BYTES = 1200
"""The size that glibc asks for, which passes everywhere in one piece."""
_RESPONSE = 0x8000
_OPCODE = 0x7800
_RCODE = 0x000F


class Question(Record):
    """One question: a name without its final dot, a record type, an id, and the packet that asks."""

    name: str
    record_type: int
    id: int
    packet: bytes


class Answer(Record):
    """A server's answer to one question.

    `records` are addresses or names as text, `canonical` is their name at the end of all aliases, and `aliases` are the
    names on the way there. `any_records` is true if the answer section has any record, for example only aliases. `lame`
    is true for an empty answer of a server that does not know the zone, as far as the flags that it leaves out show.
    """

    record_type: int
    rcode: int
    truncated: bool = False
    lame: bool = False
    any_records: bool = False
    canonical: str = ""
    records: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


def make_question(
    name: str,
    record_type: int,
    id: int,  # noqa: A002  # the protocol's word
    *,
    edns0: bool = False,
    trust_ad: bool = False,
) -> Question:
    """Make a question. The name is ASCII, and its labels are not empty and not longer than DNS allows.

    Labels have no escapes: a backslash is a backslash.
    """
    message = dns.message.QueryMessage(id=id)
    message.flags = dns.flags.RD | (dns.flags.AD if trust_ad else 0)
    labels = (*name.encode("ascii").split(b"."), b"") if name else (b"",)
    section: list[dns.rrset.RRset] = message.question
    section.append(dns.rrset.RRset(dns.name.Name(labels), dns.rdataclass.IN, dns.rdatatype.RdataType.make(record_type)))
    if edns0:
        message.use_edns(0, payload=_EDNS_PAYLOAD_BYTES)
    return Question(name, record_type, id, message.to_wire())


def is_answer(question: Question, data: bytes) -> bool:
    """Return whether a packet claims to answer a question. Other packets are not examined any further.

    The id and the question section must be the same, except for the case of letters. An error may have no question
    section.
    """
    if len(data) < _HEADER_BYTES:
        return False
    number, flags, questions = unpack_from("!HHH", data)
    if number != question.id or flags & (_RESPONSE | _OPCODE) != _RESPONSE:
        return False
    if questions == 0:
        return flags & _RCODE not in (NOERROR, NXDOMAIN)
    asked = question.packet[_HEADER_BYTES : _HEADER_BYTES + _question_bytes(question)]
    return questions == 1 and data[_HEADER_BYTES : _HEADER_BYTES + len(asked)].lower() == asked.lower()


def _question_bytes(question: Question) -> int:
    """Return the size of the question section: a byte before each label and one at the end, then type and class."""
    return len(question.name) + (2 if question.name else 1) + 4


def read_answer(question: Question, data: bytes) -> Answer:
    """Read a packet for which `is_answer` is true. The result is a `BAD_ANSWER` if the packet can't be read."""
    flags, _, answers, _, additional = unpack_from("!HHHHH", data, 2)
    rcode, truncated = flags & _RCODE, bool(flags & dns.flags.TC)
    if rcode != NOERROR:
        return Answer(question.record_type, rcode)
    # The test of glibc's send_dg for a server that refers us elsewhere.
    lame = answers + additional == 0 and not flags & (dns.flags.AA | dns.flags.RA)
    try:
        canonical, records, aliases = _follow(question, data, answers)
    except Exception:  # dnspython raises many types for hostile bytes. Each means one bad answer.
        if not truncated:
            return Answer(question.record_type, BAD_ANSWER)
        canonical, records, aliases = question.name, (), ()
    return Answer(question.record_type, rcode, truncated, lame, answers > 0, canonical, records, aliases)


def _follow(question: Question, data: bytes, answers: int) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Follow the aliases of one answer to its records. Return their name, the records, and the aliases.

    As in glibc, an alias counts whatever its owner, and one that is no host name is followed, but not returned. Other
    sections are not read. dnspython reads names, but not the message: it would take seconds for hostile ones.
    Source: getanswer_r in glibc's resolv/nss_dns/dns-host.c.

    Raises:
        Exception: the answer can't be read, or its names have too many labels.
    """
    expected, _ = dns.name.from_wire(data, _HEADER_BYTES)
    names = [_text(expected)]
    records: list[str] = []
    labels = 0
    offset = _HEADER_BYTES + _question_bytes(question)
    for _ in range(answers):
        owner, used = dns.name.from_wire(data, offset)
        record_type, record_class, length = unpack_from("!HH4xH", data, offset + used)
        start, offset = offset + used + _RECORD_BYTES, offset + used + _RECORD_BYTES + length
        if offset > len(data):
            raise dns.exception.FormError
        labels += len(owner)
        if record_class == dns.rdataclass.IN and record_type == dns.rdatatype.CNAME:
            expected = _target(data, start, offset)
            labels += len(expected)
            if is_host_name(name := _text(expected)):
                names.append(name)
        elif record_class == dns.rdataclass.IN and record_type == question.record_type and owner == expected:
            if record_type == PTR:
                target = _target(data, start, offset)
                labels += len(target)
                records.append(_text(target))
            else:
                records.append(socket.inet_ntop(_FAMILIES[record_type], data[start:offset]))
        if labels > _MOST_LABELS:
            raise dns.exception.FormError
    return names[-1], tuple(dict.fromkeys(records)), tuple(names[:-1])


def _target(data: bytes, start: int, end: int) -> dns.name.Name:
    """Read the name that is all of a record's data."""
    name, used = dns.name.from_wire(data, start)
    if start + used != end:
        raise dns.exception.FormError
    return name


def is_host_name(name: str) -> bool:
    """Return whether a name has only characters of host names. Source: res_hnok in glibc's res-name-checking.c."""
    return bool(re.fullmatch(r"(?!-)[A-Za-z0-9_.-]*", name))


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
