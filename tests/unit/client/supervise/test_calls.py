"""A call of socket(2) under `nsbroker-get run` becomes a request, and a refusal becomes an errno of the program."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from nsbroker.link.errors import BrokerProtocolError, BrokerUnavailableError, WrongNamespaceError, os_error, refusal
from nsbroker.place.options import AtBirth
from nsbroker.supervise.calls import SEE_LIST, Refusal, descriptor_flags, errno_of, line_of, option_line, read_spec
from nsbroker.wire.codec import decode_request, encode_request
from nsbroker.wire.messages import OpenRequest, SocketSpec

INET, INET6, NETLINK, PACKET = 2, 10, 16, 17
STREAM, DGRAM, RAW = 1, 2, 3
CLOEXEC, NONBLOCK = 0o2000000, 0o4000


def as_register(number: int) -> int:
    return number % 2**64


def spec_of(family: int, kind: int, proto: int) -> SocketSpec:
    args = tuple(as_register(arg) for arg in (family, kind, proto, 7, 8, 9))
    spec = read_spec("blue", args, AtBirth().of)
    request = OpenRequest(1, (spec,))
    assert decode_request(encode_request(request)) == request, "the broker must be able to read it"
    return spec


@pytest.mark.parametrize(
    ("family", "kind", "proto"),
    [
        (INET, STREAM, 0),
        (INET6, DGRAM, 17),
        (INET, STREAM, 262),
        (INET, DGRAM, 1),
        (INET, RAW, 255),
        (NETLINK, RAW, 0),
        (NETLINK, DGRAM, 16),
        (PACKET, RAW, 0),
    ],
)
def test_the_same_socket_is_asked_for(family: int, kind: int, proto: int) -> None:
    assert spec_of(family, kind, proto) == SocketSpec("blue", family, kind, proto)
    assert spec_of(family, kind | CLOEXEC, proto) == SocketSpec("blue", family, kind, proto)
    assert spec_of(family, kind | CLOEXEC | NONBLOCK, proto) == SocketSpec("blue", family, kind | NONBLOCK, proto)


def test_close_on_exec_is_the_descriptors_and_not_the_sockets() -> None:
    assert descriptor_flags((INET, STREAM | CLOEXEC, 0)) == os.O_CLOEXEC
    assert descriptor_flags((INET, STREAM | NONBLOCK, 0)) == 0


def test_upper_halves_of_registers_mean_nothing() -> None:
    noise = 0xABCD << 32
    spec = read_spec("blue", (noise | INET, noise | DGRAM, noise | 17, 0, 0, 0), AtBirth().of)
    assert spec == SocketSpec("blue", INET, DGRAM, 17)


def test_packet_socket_gets_its_protocol_by_bind() -> None:
    """The broker makes them without: with one, they take in packets before anyone said which."""
    every = socket.htons(3)
    assert spec_of(PACKET, RAW, every) == SocketSpec("blue", PACKET, RAW, 0, ("", 3))
    # The kernel takes 16 bits of it.
    assert spec_of(PACKET, DGRAM | CLOEXEC, 0x50000 | every) == SocketSpec("blue", PACKET, DGRAM, 0, ("", 3))
    assert spec_of(PACKET, RAW, 0x50000) == SocketSpec("blue", PACKET, RAW, 0)


def test_sockets_have_the_options_of_their_family_from_birth() -> None:
    at_birth = AtBirth(16, transparent=True, freebind=True)
    expected = {
        INET: ((1, 36, 16), (0, 19, 1), (0, 15, 1)),
        INET6: ((1, 36, 16), (41, 75, 1), (41, 78, 1)),
        PACKET: ((1, 36, 16),),
        NETLINK: (),
    }
    assert {family: read_spec("blue", (family, RAW, 0), at_birth.of).options for family in expected} == expected


def test_line_about_an_option_names_the_flag() -> None:
    """A transparent socket may become another one without any right."""
    lines = {
        (1, 36, 0): "the program may not set SO_MARK to 0x0 itself: use nsbroker-get NS run --mark 0x0",
        (0, 19, 1): "the program may not set IP_TRANSPARENT to 0x1 itself: use nsbroker-get NS run --transparent",
        (41, 75, 7): "the program may not set IPV6_TRANSPARENT to 0x7 itself: use nsbroker-get NS run --transparent",
        (0, 19, 0): None,
    }
    assert {option: option_line(*option) for option in lines} == lines


@pytest.mark.parametrize(
    ("family", "kind", "proto", "number"),
    [
        (INET, STREAM | 0o1, 0, None),
        (INET, STREAM | 0x10, 0, errno.EINVAL),
        (INET, 11, 0, errno.EINVAL),
        (INET, -1, 0, errno.EINVAL),
        (INET, STREAM, -1, errno.EINVAL),
        (INET6, STREAM, 263, errno.EINVAL),
        (INET, STREAM, 2**31 - 1, errno.EINVAL),
        (NETLINK, RAW, 9, errno.EPROTONOSUPPORT),  # audit: libaudit understands this errno
        (NETLINK, RAW, 15, errno.EPROTONOSUPPORT),
        (NETLINK, RAW, -1, errno.EPROTONOSUPPORT),
        (PACKET, RAW, -1, None),
    ],
)
def test_what_no_kernel_makes_is_refused_as_the_kernel_does(
    family: int, kind: int, proto: int, number: int | None
) -> None:
    if number is None:
        spec_of(family, kind, proto)
        return
    with pytest.raises(Refusal) as caught:
        spec_of(family, kind, proto)
    assert caught.value.errno == number


def test_refusals_of_the_broker_have_an_errno_that_programs_know_and_a_line_for_people() -> None:
    told = {
        f"no udp sockets{SEE_LIST}": (refusal("denied", "no udp sockets", 0), errno.EACCES),
        "no such name": (refusal("no-such-namespace", "no such name", 0), errno.ENETDOWN),
        "too many": (refusal("overloaded", "too many", None), errno.ENOBUFS),
        "gone": (BrokerUnavailableError(errno.ECONNREFUSED, "gone"), errno.ENETDOWN),
        "late": (BrokerUnavailableError(errno.ETIMEDOUT, "late"), errno.ENETDOWN),
        "nonsense": (BrokerProtocolError(errno.EPROTO, "nonsense"), errno.ENETDOWN),
        "elsewhere": (WrongNamespaceError(errno.EXDEV, "elsewhere"), errno.ENETDOWN),
    }
    for line, (error, number) in told.items():
        assert (errno_of(error), line_of(error, "")) == (number, line)


def test_what_the_kernel_refuses_there_is_told_as_it_is() -> None:
    """People get a line where the broker adds something to the kernel's words."""
    words = "Address family not supported by protocol"
    error = os_error(errno.EAFNOSUPPORT, words, 0)
    assert (errno_of(error), line_of(error, words)) == (errno.EAFNOSUPPORT, None)
    advice = f"{words}: load its module"
    error = os_error(errno.EAFNOSUPPORT, advice, 0)
    assert (errno_of(error), line_of(error, words)) == (errno.EAFNOSUPPORT, advice)
    assert errno_of(OSError("no number at all")) == errno.EIO
