"""Questions to name servers, and their answers, as bytes: dnspython's work.

Loading this takes about 50 ms, so it is loaded for the first question. A driver for an event loop loads it before.
"""

from __future__ import annotations

from struct import unpack_from

import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from .messages import BAD_ANSWER, NOERROR, NXDOMAIN, Answer, Question

_HEADER_BYTES = 12
_EDNS_PAYLOAD_BYTES = 1200
"""What glibc asks for: it passes everywhere in one piece."""
_RESPONSE = 0x8000
_OPCODE = 0x7800
_RCODE = 0x000F
_LONGEST_CHAIN = 16

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def make_question(name: str, kind: int, id: int, *, edns0: bool = False, trust_ad: bool = False) -> Question:  # noqa: A002  # the protocol's word
    """Make a question. The name is ASCII, its labels are not empty and not longer than DNS allows.

    Labels are taken as they are: a backslash is a backslash.
    """
    message = dns.message.QueryMessage(id=id)
    message.flags = dns.flags.RD | (dns.flags.AD if trust_ad else 0)
    labels = (*name.encode("ascii").split(b"."), b"") if name else (b"",)
    section: list[dns.rrset.RRset] = message.question
    section.append(dns.rrset.RRset(dns.name.Name(labels), dns.rdataclass.IN, dns.rdatatype.RdataType.make(kind)))
    if edns0:
        message.use_edns(0, payload=_EDNS_PAYLOAD_BYTES)
    return Question(name, kind, id, message.to_wire())


def is_answer(question: Question, data: bytes) -> bool:
    """Tell whether a packet claims to answer a question: what does not is not looked at any further.

    The id and the question section must be the same, but for the case of letters. An error may come without a
    question section.
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
    """Give the size of the question section: a byte before each label and one at the end, then type and class."""
    return len(question.name) + (2 if question.name else 1) + 4


def read_answer(question: Question, data: bytes) -> Answer:
    """Read a packet for which `is_answer` holds; one that can't be read is a `BAD_ANSWER`."""
    flags, _, answers, _, additional = unpack_from("!HHHHH", data, 2)
    rcode, truncated = flags & _RCODE, bool(flags & dns.flags.TC)
    if rcode != NOERROR:
        return Answer(question.kind, rcode)
    # The test of glibc's send_dg for a server that refers us elsewhere.
    lame = answers + additional == 0 and not flags & (dns.flags.AA | dns.flags.RA)
    try:
        canonical, records = _follow(question, dns.message.from_wire(data, ignore_trailing=True))
    except Exception:  # Whatever dnspython makes of hostile bytes: it is one answer that is no good.
        if not truncated:
            return Answer(question.kind, BAD_ANSWER)
        canonical, records = question.name, ()
    return Answer(question.kind, rcode, truncated, lame, answers > 0, canonical, records)


def _follow(question: Question, message: dns.message.Message) -> tuple[str, tuple[str, ...]]:
    """Follow the aliases of one answer to its records."""
    name = message.question[0].name
    sets = {(rrset.name, int(rrset.rdtype)): rrset for rrset in message.answer if rrset.rdclass == dns.rdataclass.IN}
    for _ in range(_LONGEST_CHAIN):
        if found := sets.get((name, question.kind)):
            return _text(name), tuple(_values(found))
        alias = sets.get((name, int(dns.rdatatype.CNAME)))
        if alias is None:
            return _text(name), ()
        name = alias[0].target
    raise ValueError("aliases without an end")


def _values(rrset: dns.rrset.RRset) -> Iterator[str]:
    for rdata in rrset:
        yield _text(rdata.target) if rrset.rdtype == dns.rdatatype.PTR else rdata.address


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
