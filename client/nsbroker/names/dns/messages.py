"""Questions to name servers and their answers, as values and as bytes. dnspython turns one into the other."""

from __future__ import annotations

import re
from struct import unpack_from

import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from ...wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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
        canonical, records, aliases = _follow(question, dns.message.from_wire(data, ignore_trailing=True))
    except Exception:  # dnspython raises many types for hostile bytes. Each means one bad answer.
        if not truncated:
            return Answer(question.record_type, BAD_ANSWER)
        canonical, records, aliases = question.name, (), ()
    return Answer(question.record_type, rcode, truncated, lame, answers > 0, canonical, records, aliases)


def _follow(question: Question, message: dns.message.Message) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Follow the aliases of one answer to its records. Return their name, the records, and the aliases.

    As in glibc, an alias counts whatever its owner, and one that is no host name is followed, but not returned.
    Source: getanswer_r in glibc's resolv/nss_dns/dns-host.c.
    """
    expected = message.question[0].name
    names = [_text(expected)]
    records: list[str] = []
    for rrset in message.answer:
        if rrset.rdclass != dns.rdataclass.IN:
            continue
        if rrset.rdtype == dns.rdatatype.CNAME:
            expected = rrset[-1].target
            names += [name for rdata in rrset if is_host_name(name := _text(rdata.target))]
        elif rrset.rdtype == question.record_type and rrset.name == expected:
            records += _values(rrset)
    return names[-1], tuple(records), tuple(names[:-1])


def is_host_name(name: str) -> bool:
    """Return whether a name has only characters of host names. Source: res_hnok in glibc's res-name-checking.c."""
    return bool(re.fullmatch(r"(?!-)[A-Za-z0-9_.-]*", name))


def _values(rrset: dns.rrset.RRset) -> Iterator[str]:
    for rdata in rrset:
        yield _text(rdata.target) if rrset.rdtype == dns.rdatatype.PTR else rdata.address


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
