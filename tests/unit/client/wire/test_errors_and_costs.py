"""Claims about the wire beyond the test packets: helpful errors, bounded costs, values that can't be encoded."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import msgpack
import pytest

from nsbroker import wire

PYTHONPATH = ":".join(path for path in sys.path if path)
SPEC = wire.SocketSpec("blue", 2, 1)


def error_of(packet: bytes) -> wire.ProtocolError:
    with pytest.raises(wire.ProtocolError) as refused:
        wire.decode_request(packet)
    return refused.value


def request(**changes) -> bytes:
    message = {"v": 1, "id": 1, "op": "open", "sockets": [{"ns": "blue", "family": 2, "type": 1}]}
    return msgpack.packb({**message, **changes})


def test_error_names_the_unknown_key() -> None:
    """The author of the client can see the mistake."""
    assert "'limit'" in str(error_of(request(limit=[])))


def test_error_shows_a_huge_value_shortened() -> None:
    assert len(str(error_of(request(op="x" * 60000)))) < 200


def test_version_error_names_both_versions() -> None:
    error = error_of(request(v=2))
    assert "version 2" in str(error)
    assert "speaks 1" in str(error)


def test_version_is_judged_before_keys() -> None:
    """A newer client learns that the version is the matter, not some key of it."""
    assert error_of(request(v=2, new=1)).code == wire.UNSUPPORTED_VERSION


LIES = {
    "array16": b"\xdc\xff\xff" * 21845,
    "array16 of 1024": b"\xdc\x04\x00" * 21845,
    "array32": b"\xdd\x00\x00\xff\xff" * 13107,
    "map32": b"\xdf\xff\xff\xff\xff",
    "bin32": b"\xc6\xff\xff\xff\xff",
    "ext32": b"\xc9\xff\xff\xff\xff\x01",
    "nested": b"\x91" * 65536,
    "maps": b"\x81\xa1v" * 21845,
}


@pytest.mark.parametrize("packet", LIES.values(), ids=LIES)
def test_lying_sizes_cost_little_memory(packet: bytes) -> None:
    """The decoder does not allocate the sizes that a packet claims: 64 KiB of nested claims must not cost 60 MB."""
    tracemalloc.start()
    try:
        error = error_of(packet)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.request_id is None
    assert peak < 12 * 2**20


def test_request_that_does_not_fit_a_packet_is_not_encoded() -> None:
    """The client learns before anything is sent."""
    spec = SPEC._replace(options=((1, 25, b"x" * 256),) * 32)
    with pytest.raises(wire.ProtocolError, match="at most 65536"):
        wire.encode_request(wire.OpenRequest(1, (spec,) * 10))


def test_packet_of_exactly_the_limit_is_read() -> None:
    size = len(wire.encode_reply(wire.ErrorReply(1, wire.DENIED, "x" * 60000)))
    message = "x" * (60000 + 65536 - size)
    packet = wire.encode_reply(wire.ErrorReply(1, wire.DENIED, message))
    assert len(packet) == 65536
    assert wire.decode_reply(packet) == wire.ErrorReply(1, wire.DENIED, message)
    # Of a canonical packet, as another client could send it, one byte more is refused for its length alone.
    longer = packet.replace(
        b"\xda" + (len(message)).to_bytes(2, "big"), b"\xda" + (len(message) + 1).to_bytes(2, "big")
    )
    with pytest.raises(wire.ProtocolError, match="65536"):
        wire.decode_reply(longer.replace(b"xx", b"xxx", 1))


@pytest.mark.parametrize("name", ["\ud800", "a\udcff"])
def test_name_that_is_no_text_is_not_encoded(name: str) -> None:
    with pytest.raises(wire.ProtocolError):
        wire.encode_request(wire.OpenRequest(1, (SPEC._replace(namespace=name),)))


def test_number_past_64_bits_is_not_encoded() -> None:
    with pytest.raises(wire.ProtocolError):
        wire.encode_request(wire.NamespacesRequest(2**64))


def test_packer_is_clean_after_a_failure() -> None:
    """A value that could not be encoded leaves no bytes in the next packet."""
    before = wire.encode_request(wire.OpenRequest(1, (SPEC,)))
    with pytest.raises(wire.ProtocolError):
        wire.encode_request(wire.OpenRequest(1, (SPEC, SPEC._replace(namespace="\ud800"))))
    assert wire.encode_request(wire.OpenRequest(1, (SPEC,))) == before


def test_defaults_are_left_out() -> None:
    packet = msgpack.unpackb(wire.encode_request(wire.OpenRequest(1, (SPEC,), 0.0)))
    assert packet == {"v": 1, "id": 1, "op": "open", "sockets": [{"ns": "blue", "family": 2, "type": 1}]}


@pytest.mark.parametrize("numbers", [(2, 1, 0), (2.0, 1, 0), (2, True, 0), (2, 1, 0.0), (2, 1, 6)])
def test_request_is_encoded_as_it_is_whatever_was_encoded_before(numbers: tuple[int, int, int]) -> None:
    """Equal numbers of other types are encoded otherwise, and the broker refuses them."""
    family, socket_type, proto = numbers
    spec = {"ns": "again", "family": family, "type": socket_type, **({"proto": proto} if proto else {})}
    for request_id in (1, 127, 128, wire.MAX_REQUEST_ID):
        request = wire.OpenRequest(request_id, (wire.SocketSpec("again", family, socket_type, proto),))
        expected = msgpack.packb({"v": 1, "id": request_id, "op": "open", "sockets": [spec]})
        assert wire.encode_request(request) == expected


@pytest.mark.parametrize("indices", [(), (0,), (1, 0), (0, 0, 1)])
def test_descriptors_are_counted_by_their_highest_index(indices: tuple[int, ...]) -> None:
    specs = tuple(SPEC._replace(namespace=index) for index in indices) or (SPEC,)
    assert wire.named_descriptors(wire.OpenRequest(1, specs)) == len(set(indices))


@pytest.mark.parametrize("indices", [(1,), (0, 2), (15,)])
def test_gap_in_the_descriptors_is_refused_with_the_id(indices: tuple[int, ...]) -> None:
    specs = tuple(SPEC._replace(namespace=index) for index in indices)
    with pytest.raises(wire.ProtocolError, match="gap") as refused:
        wire.named_descriptors(wire.OpenRequest(7, specs))
    assert refused.value.request_id == 7


def test_msgpack_written_in_python_is_as_strict() -> None:
    """Where msgpack has no compiled part, packets are judged and made alike."""
    code = (
        "import msgpack; assert msgpack.Packer.__module__ == 'msgpack.fallback'\n"
        "from nsbroker import wire\n"
        "assert wire.packet.pack_value is msgpack.packb  # one packer for each: threads would mix their packets in it\n"
        f"assert wire.encode_request(wire.NamespacesRequest(1)) == {wire.encode_request(wire.NamespacesRequest(1))!r}\n"
        f"for packet in {[request(id=True), request() + request(), b'', LIES['array16'][:999]]!r}:\n"
        "    try: wire.decode_request(packet)\n"
        "    except wire.ProtocolError: pass\n"
        "    else: raise SystemExit(f'accepted {packet!r}')\n"
    )
    environment = {"MSGPACK_PUREPYTHON": "1", "PYTHONPATH": PYTHONPATH}
    subprocess.run([sys.executable, "-B", "-c", code], env=environment, check=True)


def test_wire_loads_nothing_slow() -> None:
    """A program that is started for one socket pays for every import."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "import nsbroker.wire, nsbroker.link.fdpass, nsbroker.link.errors\n"
        "slow = {'typing', 'dataclasses', 'argparse', 'inspect', 'trio', 'pyroute2', 'nsbrokerd', 'asyncio'}\n"
        "assert not slow & (sys.modules.keys() - before), slow & (sys.modules.keys() - before)\n"
    )
    subprocess.run([sys.executable, "-B", "-c", code], env={"PYTHONPATH": PYTHONPATH}, check=True)


@pytest.mark.parametrize("bind", [(), ("10.0.0.1",), b"", b"x", ("10.0.0.1", 80, 0)])
def test_address_of_another_form_is_left_to_the_broker_in_a_group_too(bind: tuple[object, ...] | bytes) -> None:
    """The broker's refusal names the form. Alone, the socket is refused by the same words."""
    specs = (SPEC._replace(bind=("10.0.0.1", 80)), SPEC._replace(bind=bind), SPEC._replace(bind=("10.0.0.1", 80)))
    refused = error_of(wire.encode_request(wire.OpenRequest(1, specs, 0, 0, True)))
    assert "an address of family 2 is [host, port]" in str(refused)
    assert refused.index in (0, 1)
