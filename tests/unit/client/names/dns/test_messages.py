"""Questions have the form that servers expect, and any bytes are at most one bad answer."""

from __future__ import annotations

from struct import pack

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nsbroker.names.dns.messages import (
    AAAA,
    BAD_ANSWER,
    FORMERR,
    NOERROR,
    NXDOMAIN,
    PTR,
    SERVFAIL,
    A,
    Answer,
    Question,
    is_answer,
    make_question,
    read_answer,
)
from nsbroker.names.dns.questions import frame, split_stream

WWW = make_question("www.test", A, 0x1234)


def reply_to(question: Question, *rows: str, rcode: int = NOERROR, flags: int = 0) -> bytes:
    """An answer with these rows: "www.test. A 10.0.0.1"."""
    reply = dns.message.make_response(dns.message.from_wire(question.packet))
    reply.flags |= dns.flags.RA | flags
    reply.set_rcode(dns.rcode.Rcode(rcode))
    for row in rows:
        name, kind, value = row.split(maxsplit=2)
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", kind, value))
    return reply.to_wire()


def read(question: Question, data: bytes) -> Answer:
    assert is_answer(question, data)
    return read_answer(question, data)


def test_question_asks_for_recursion_and_for_nothing_else() -> None:
    message = dns.message.from_wire(WWW.packet)
    assert (message.id, message.flags, message.edns) == (0x1234, dns.flags.RD, -1)
    assert str(message.question[0]) == "www.test. IN A"


def test_question_has_edns_and_the_ad_bit_when_resolv_conf_says_so() -> None:
    message = dns.message.from_wire(make_question("www.test", AAAA, 1, edns0=True, trust_ad=True).packet)
    assert (message.edns, message.payload) == (0, 1200)
    assert message.flags == dns.flags.RD | dns.flags.AD


def test_backslash_in_a_name_is_a_backslash() -> None:
    message = dns.message.from_wire(make_question(r"a\032b.test", A, 1).packet)
    assert message.question[0].name.labels == (rb"a\032b", b"test", b"")


def test_addresses_are_read() -> None:
    answer = read(WWW, reply_to(WWW, "www.test. A 10.0.0.1", "www.test. A 10.0.0.2"))
    assert answer == Answer(A, NOERROR, any_records=True, canonical="www.test", records=("10.0.0.1", "10.0.0.2"))


def test_aliases_are_followed_in_the_order_of_the_answer() -> None:
    rows = ["www.test. CNAME mid.test.", "mid.test. CNAME end.test.", "end.test. A 10.0.0.1", "evil.test. A 10.6.6.6"]
    answer = read(WWW, reply_to(WWW, *rows))
    assert (answer.canonical, answer.records, answer.aliases) == ("end.test", ("10.0.0.1",), ("www.test", "mid.test"))
    assert read(WWW, reply_to(WWW, rows[2], *rows[:2])).records == ()


def test_alias_that_is_no_host_name_is_followed_but_not_returned() -> None:
    """It could hold anything, for example a terminal's control characters."""
    for alias in ("-end.test.", r"b\027d.test."):
        answer = read(WWW, reply_to(WWW, f"www.test. CNAME {alias}", f"{alias} A 10.0.0.1"))
        assert (answer.canonical, answer.records, answer.aliases) == ("www.test", ("10.0.0.1",), ())


def test_alias_without_an_address_has_records_but_not_ours() -> None:
    answer = read(WWW, reply_to(WWW, "www.test. CNAME end.test."))
    assert (answer.any_records, answer.canonical, answer.records) == (True, "end.test", ())


def test_circle_of_aliases_has_no_address() -> None:
    rows = ["www.test. CNAME mid.test.", "mid.test. CNAME www.test."]
    answer = read(WWW, reply_to(WWW, *rows))
    assert (answer.rcode, answer.any_records, answer.records) == (NOERROR, True, ())


def test_names_of_addresses_are_read_through_aliases() -> None:
    question = make_question("1.0.0.10.in-addr.arpa", PTR, 1)
    rows = ["1.0.0.10.in-addr.arpa. CNAME 1.sub.arpa.", "1.sub.arpa. PTR www.test."]
    assert read(question, reply_to(question, *rows)).records == ("www.test",)


@pytest.mark.parametrize("rcode", [FORMERR, SERVFAIL, NXDOMAIN, 4, 5])
def test_errors_keep_their_code(rcode: int) -> None:
    assert read(WWW, reply_to(WWW, rcode=rcode)).rcode == rcode


def test_cut_answer_says_so_and_keeps_what_can_be_read() -> None:
    answer = read(WWW, reply_to(WWW, "www.test. A 10.0.0.1", flags=dns.flags.TC))
    assert (answer.truncated, answer.records) == (True, ("10.0.0.1",))
    answer = read(WWW, reply_to(WWW, "www.test. A 10.0.0.1", flags=dns.flags.TC)[:-2])
    assert (answer.truncated, answer.records, answer.rcode) == (True, (), NOERROR)


def answer_of(count: int, records: bytes) -> bytes:
    """An answer with these records, whose names can point to the question at 12."""
    return pack("!HHHHHH", 0x1234, 0x8180, 1, count, 0, 0) + WWW.packet[12:] + records


def test_names_of_an_answer_are_bounded() -> None:
    """Each of them can be a pointer to a hundred labels. Reading them all would take seconds."""
    label, start = b"\x01a", len(answer_of(0, b""))
    first = label * 110 + b"\xc0\x0c" + pack("!HHIH", 5, 1, 60, 2) + b"\xc0\x0c"
    pointer = pack("!H", 0xC000 | start)
    another = pointer + pack("!HHIH", 5, 1, 60, 2) + pointer
    assert read(WWW, answer_of(201, first + 200 * another)).rcode == NOERROR
    assert read(WWW, answer_of(4001, first + 4000 * another)).rcode == BAD_ANSWER
    unrelated = pointer + pack("!HHIH", 1, 1, 60, 4) + bytes(4)
    assert read(WWW, answer_of(4001, first + 4000 * unrelated)).rcode == BAD_ANSWER


def test_names_of_pointers_are_bounded() -> None:
    label, question = b"\x01a", make_question("1.0.0.10.in-addr.arpa", PTR, 1)
    start = len(question.packet)
    target = label * 100 + b"\xc0\x0c"
    first = b"\xc0\x0c" + pack("!HHIH", 12, 1, 60, len(target)) + target
    another = b"\xc0\x0c" + pack("!HHIH", 12, 1, 60, 2) + pack("!H", 0xC000 | start + 12)
    head = pack("!HHHHHH", 1, 0x8180, 1, 4001, 0, 0) + question.packet[12:]
    assert read(question, head + first + 4000 * another).rcode == BAD_ANSWER


def test_thousands_of_addresses_are_read() -> None:
    records = (b"\xc0\x0c" + pack("!HHIH4s", 1, 1, 60, 4, number.to_bytes(4, "big")) for number in range(4000))
    assert len(read(WWW, answer_of(4000, b"".join(records))).records) == 4000


def test_address_that_is_twice_in_an_answer_counts_once() -> None:
    record = b"\xc0\x0c" + pack("!HHIH", 1, 1, 60, 4) + b"\x0a\0\0\1"
    assert read(WWW, answer_of(2, 2 * record)).records == ("10.0.0.1",)


@pytest.mark.parametrize("record", [pack("!HHIH", 1, 1, 60, 3) + b"abc", pack("!HHIH", 5, 1, 60, 3) + b"\xc0\x0c\0"])
def test_record_of_the_wrong_length_is_a_bad_answer(record: bytes) -> None:
    assert read(WWW, answer_of(1, b"\xc0\x0c" + record)).rcode == BAD_ANSWER


def test_records_of_other_classes_and_sections_do_not_count() -> None:
    chaos = b"\xc0\x0c" + pack("!HHIH", 1, 3, 60, 4) + b"\x0a\0\0\1"
    good = b"\xc0\x0c" + pack("!HHIH", 1, 1, 60, 4) + b"\x0a\0\0\2"
    data = bytearray(answer_of(2, chaos + good + b"\xc0\xff no record"))
    data[9] = data[11] = 1
    assert read(WWW, bytes(data)).records == ("10.0.0.2",)


def test_answer_that_ends_too_soon_is_a_bad_answer() -> None:
    assert read(WWW, reply_to(WWW, "www.test. A 10.0.0.1")[:-2]).rcode == BAD_ANSWER


def test_empty_answer_of_a_server_that_does_not_recurse_is_lame() -> None:
    reply = dns.message.from_wire(reply_to(WWW))
    assert not read(WWW, reply.to_wire()).lame
    reply.flags &= ~dns.flags.RA
    assert read(WWW, reply.to_wire()).lame


def test_answer_in_other_letters_is_an_answer() -> None:
    """Some servers return the name in lower case."""
    question = make_question("WWW.Test", A, 0x1234)
    assert read(question, reply_to(WWW, "www.test. A 10.0.0.1")).records == ("10.0.0.1",)


@pytest.mark.parametrize(
    "other",
    [
        reply_to(make_question("www.test", A, 0x1235)),
        reply_to(make_question("www.test", AAAA, 0x1234)),
        reply_to(make_question("ww2.test", A, 0x1234)),
        reply_to(make_question("www.test.evil", A, 0x1234)),
        reply_to(WWW, flags=0x0800),
        WWW.packet,
        b"",
        reply_to(WWW)[:11],
        reply_to(WWW)[:4] + b"\0\0" + reply_to(WWW)[6:],
        reply_to(WWW)[:4] + b"\0\2" + reply_to(WWW)[6:],
    ],
    ids=[
        "id",
        "type",
        "name",
        "longer name",
        "opcode",
        "a question",
        "nothing",
        "short",
        "no question",
        "two questions",
    ],
)
def test_what_answers_something_else_is_no_answer(other: bytes) -> None:
    assert not is_answer(WWW, other)


def test_error_may_come_without_the_question() -> None:
    packet = bytearray(reply_to(WWW, rcode=FORMERR)[:12])
    packet[4:6] = b"\0\0"
    assert read(WWW, bytes(packet)).rcode == FORMERR


@given(st.binary(max_size=200))
@example(b"\xc0\x0c" * 40)
def test_any_bytes_after_the_question_are_one_answer(tail: bytes) -> None:
    header = reply_to(WWW)[:6] + b"\0\3\0\1\0\1" + WWW.packet[12:]
    for data in (
        header + tail,
        header[:4] + b"\0\1\0\1\0\0\0\0" + WWW.packet[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\1" + tail,
    ):
        answer = read(WWW, data)
        assert answer.rcode in (NOERROR, BAD_ANSWER)


@given(st.data())
def test_any_change_of_an_answer_is_no_exception(data: st.DataObject) -> None:
    good = reply_to(WWW, "www.test. CNAME end.test.", "end.test. A 10.0.0.1", "www.test. TXT abc")
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(st.integers(2, len(good) - 1))] = data.draw(st.integers(0, 255))
    if is_answer(WWW, bytes(changed)):
        assert all(record.count(".") == 3 for record in read_answer(WWW, bytes(changed)).records)


@given(st.binary(max_size=100))
def test_any_bytes_can_be_asked_about(data: bytes) -> None:
    is_answer(WWW, data)


@given(st.lists(st.binary(max_size=40), max_size=6), st.data())
def test_stream_gives_whole_messages_however_it_is_cut(messages: list[bytes], data: st.DataObject) -> None:
    stream = frame(tuple(messages))
    cut = data.draw(st.integers(0, len(stream)))
    first, rest = split_stream(stream[:cut])
    second, left = split_stream(rest + stream[cut:])
    assert first + second == messages
    assert left == b""
