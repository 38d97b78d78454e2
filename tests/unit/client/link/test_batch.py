"""A batch is cut into requests that fit, and keeps all its sockets."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.link.batch import split
from nsbroker.wire import MAX_PACKET_BYTES, MAX_SENT_FDS, MAX_SOCKETS, OpenRequest, SocketSpec, encode_request
from nsbroker.wire.bounds import MAX_ABSTRACT_BYTES, MAX_ALSO
from nsbroker.wire.codec import decode_request, named_descriptors

V4, TCP = int(socket.AF_INET), int(socket.SOCK_STREAM)

namespaces = st.one_of(st.integers(0, 40), st.text(max_size=255))
options = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 300), st.one_of(st.integers(-9, 9), st.binary(max_size=256))),
    max_size=32,
)
V6_ADDRESS = ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, 2**20 - 1, 2**32 - 1)
kinds = st.sampled_from(
    [
        (V4, TCP, 0, None, ()),
        (V4, TCP, 0, ("10.0.0.1", 80), ()),
        (int(socket.AF_INET6), TCP, int(socket.IPPROTO_SCTP), V6_ADDRESS, (V6_ADDRESS,) * MAX_ALSO),
        (int(socket.AF_UNIX), TCP, 0, b"\xff" * MAX_ABSTRACT_BYTES, ()),
    ]
)
specs = st.builds(
    lambda ns, opts, kind: SocketSpec(ns, *kind[:4], 65535, tuple(opts), kind[4]),
    namespaces,
    options,
    kinds,
)


@given(st.lists(specs, max_size=20), st.integers(1, 40))
def test_every_chunk_fits_and_together_they_are_the_batch(few: list[SocketSpec], times: int) -> None:
    """The bounds are bytes, sockets and descriptors. Each socket keeps its namespace."""
    batch = few * times
    seen: list[SocketSpec] = []
    for chunk in split(batch):
        assert chunk.first == len(seen)
        assert 1 <= len(chunk.specs) <= MAX_SOCKETS
        assert len(chunk.fds) <= MAX_SENT_FDS
        packet = encode_request(OpenRequest(2**63 - 1, chunk.specs, 59.123456789))
        assert len(packet) <= MAX_PACKET_BYTES
        assert named_descriptors(decode_request(packet)) == len(chunk.fds)
        for spec in chunk.specs:
            namespace = chunk.fds[spec.namespace] if isinstance(spec.namespace, int) else spec.namespace
            seen.append(spec._replace(namespace=namespace))
    assert seen == batch


def test_plain_batches_are_cut_by_number_alone() -> None:
    """Listeners with the usual options and a long name: 253 a packet, not fewer."""
    option = (int(socket.SOL_SOCKET), int(socket.SO_REUSEADDR), 1)
    spec = SocketSpec(
        "a-name-of-30-characters-or-so", int(socket.AF_INET6), TCP, 0, ("::", 80, 0, 0), 128, (option,) * 3
    )
    assert [len(chunk.specs) for chunk in split([spec] * 600)] == [253, 253, 94]


@pytest.mark.parametrize(("bind", "also"), [(("10.0.0.1", 80), (("10.0.0.2", 80),) * 10), (b"x" * 107, ())])
def test_one_long_address_makes_the_next_ones_no_longer(bind: Any, also: tuple[Any, ...]) -> None:
    namespace, options = "a-name-of-30-characters-or-so", ((int(socket.SOL_SOCKET), int(socket.SO_REUSEADDR), 1),) * 4
    long = SocketSpec(namespace, V4, TCP, 0, bind, 128, options, also)
    usual = SocketSpec(namespace, V4, TCP, 0, ("10.0.0.1", 81), 128, options)
    assert [len(chunk.specs) for chunk in split([long, *[usual] * 252])] == [253]


def test_close_on_exec_is_taken_for_granted() -> None:
    (chunk,) = split([SocketSpec("blue", V4, TCP | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)])
    assert chunk.specs[0].type == TCP | socket.SOCK_NONBLOCK


def test_constants_of_the_socket_module_can_be_encoded() -> None:
    """They are enums there, and plain numbers on the wire."""
    (chunk,) = split([SocketSpec("blue", socket.AF_INET, socket.SOCK_STREAM)])
    assert decode_request(encode_request(OpenRequest(1, chunk.specs))) == OpenRequest(1, (SocketSpec("blue", 2, 1),))


@pytest.mark.parametrize("namespace", [None, 1.5, b"blue", True])
def test_namespace_is_a_name_or_a_descriptor(namespace: object) -> None:
    with pytest.raises(TypeError, match="a namespace is"):
        split([SocketSpec(namespace, V4, TCP)])  # type: ignore[arg-type]
