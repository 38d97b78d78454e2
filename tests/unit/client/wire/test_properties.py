"""Properties of every message, and of every sequence of bytes."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from nsbroker import wire
from support import wire_strategies as some


def outcome(decode: Callable[[bytes], object], packet: bytes) -> object:
    """Return the decoded message or the ProtocolError. Any other exception fails the test."""
    try:
        return decode(packet)
    except wire.ProtocolError as error:
        return error


def judge_request(packet: bytes) -> wire.Request:
    """Decode as the broker does."""
    request = wire.decode_request(packet)
    wire.named_descriptors(request)
    return request


@given(some.requests)
def test_request_decodes_to_itself(sent: wire.Request) -> None:
    """The broker reads the same request that the client encodes."""
    decoded = wire.decode_request(wire.encode_request(sent))
    assert type(decoded) is type(sent)
    assert decoded == sent


@given(some.replies)
def test_reply_decodes_to_itself(sent: wire.Reply) -> None:
    """The client reads the same reply that the broker encodes."""
    decoded = wire.decode_reply(wire.encode_reply(sent))
    assert type(decoded) is type(sent)
    assert decoded == sent


@given(some.namespace_lists())
def test_namespace_list_decodes_to_itself(answer: wire.NamespaceList) -> None:
    assert wire.decode_namespaces(wire.encode_namespaces(answer)) == answer


@given(some.resolver_files)
def test_resolver_files_decode_to_themselves(answer: wire.ResolverFiles) -> None:
    assert wire.decode_resolver_files(wire.encode_resolver_files(answer)) == answer


@given(some.explanations())
def test_explanation_decodes_to_itself(answer: wire.Explanation) -> None:
    assert wire.decode_explanation(wire.encode_explanation(answer)) == answer


@given(some.hostile(some.requests.map(wire.encode_request)))
def test_any_bytes_are_a_request_or_a_protocol_error(packet: bytes) -> None:
    """Any bytes raise only this error in the broker's decoder, and the error has everything for an answer."""
    result = outcome(judge_request, packet)
    if isinstance(result, wire.ProtocolError):
        assert result.code in (wire.BAD_REQUEST, wire.UNSUPPORTED_VERSION)
        assert result.request_id is None or 0 <= result.request_id < 2**63
        assert result.index is None or 0 <= result.index < wire.MAX_SOCKETS
        assert len(str(result)) < 300
    else:
        assert wire.decode_request(wire.encode_request(result)) == result


@given(some.hostile(some.replies.map(wire.encode_reply)))
def test_any_bytes_are_a_reply_or_a_protocol_error(packet: bytes) -> None:
    """A client trusts its broker no more than the broker trusts it."""
    result = outcome(wire.decode_reply, packet)
    if isinstance(result, wire.ProtocolError):
        assert len(str(result)) < 300
    else:
        assert wire.decode_reply(wire.encode_reply(result)) == result


@given(some.hostile(some.explanations().map(wire.encode_explanation)))
def test_any_bytes_are_an_explanation_or_a_protocol_error(blob: bytes) -> None:
    result = outcome(wire.decode_explanation, blob)
    if isinstance(result, wire.ProtocolError):
        assert len(str(result)) < 300
    else:
        assert wire.decode_explanation(wire.encode_explanation(result)) == result


@given(some.hostile(some.namespace_lists().map(wire.encode_namespaces)))
def test_any_bytes_are_a_namespace_list_or_a_protocol_error(blob: bytes) -> None:
    result = outcome(wire.decode_namespaces, blob)
    if isinstance(result, wire.ProtocolError):
        assert len(str(result)) < 300
    else:
        assert wire.decode_namespaces(wire.encode_namespaces(result)) == result


@given(some.requests, some.values.map(some.msgpack.packb))
def test_nothing_may_follow_a_message(sent: wire.Request, more: bytes) -> None:
    """A packet is one map and not a byte more."""
    result = outcome(wire.decode_request, wire.encode_request(sent) + more)
    assert isinstance(result, wire.ProtocolError)
    assert result.request_id is None


@given(some.open_requests, st.data())
def test_part_of_a_packet_is_refused(sent: wire.OpenRequest, data: st.DataObject) -> None:
    """A packet that was cut short anywhere is no other, shorter one."""
    packet = wire.encode_request(sent)
    result = outcome(wire.decode_request, packet[: data.draw(st.integers(0, len(packet) - 1))])
    assert isinstance(result, wire.ProtocolError)
    assert result.request_id is None


@given(some.open_requests, st.sampled_from(["id", "v", "op", "sockets", "wait"]), some.values)
def test_key_that_occurs_twice_is_refused(sent: wire.OpenRequest, key: str, value: object) -> None:
    """Whatever the second value is, and however long."""
    packet = wire.encode_request(sent._replace(wait_s=1))
    doubled = bytes([packet[0] + 1]) + packet[1:] + some.msgpack.packb(key) + some.msgpack.packb(value)
    assert isinstance(outcome(wire.decode_request, doubled), wire.ProtocolError)
