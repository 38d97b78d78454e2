"""The protocol: strict on both sides."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

GUARANTEES = (
    Guarantee(
        "wire-refuses-the-unknown",
        (
            Mutant(
                "client/nsbroker/wire/packet.py",
                '            raise ProtocolError(f"unknown key {shorten(key)} in {what}")\n',
                "            break\n",
                ("tests/unit/client/wire/test_vectors.py::test_request",),
            ),
            Mutant(
                "client/nsbroker/wire/codec.py",
                "if type(version) is not int or version != PROTOCOL_VERSION:",
                "if type(version) is not int or version < PROTOCOL_VERSION:",
                ("tests/unit/client/wire/test_vectors.py::test_request",),
            ),
            Mutant(
                "client/nsbroker/wire/codec.py",
                "if socket_type & ~_SOCK_NONBLOCK > 15:",
                "if socket_type & ~_SOCK_NONBLOCK > 2**30:",
                ("tests/unit/client/wire/test_vectors.py::test_request",),
            ),
            Mutant(
                "client/nsbroker/wire/replies.py",
                "if len(entry) > 1 and not entry.keys() <= _SOCKET_KEYS:",
                "if not entry:",
                ("tests/unit/client/wire/test_vectors.py::test_reply",),
            ),
            Mutant(
                "client/nsbroker/wire/replies.py",
                "if code not in CODES:",
                "if code in ():",
                ("tests/unit/client/wire/test_vectors.py::test_reply",),
            ),
            Mutant(
                "client/nsbroker/wire/replies.py",
                'if (code == OS_ERROR) != ("errno" in error):',
                'if code == OS_ERROR and "errno" not in error:',
                ("tests/unit/client/wire/test_vectors.py::test_reply",),
            ),
        ),
    ),
    Guarantee(
        "wire-is-canonical",
        (
            Mutant(
                "client/nsbroker/wire/packet.py",
                "if canonical != packet:",
                "if len(canonical) > len(packet):",
                ("tests/unit/client/wire/test_vectors.py::test_request",),
            ),
            Mutant(
                "client/nsbroker/wire/packet.py",
                "if type(value) is not int or not low <= value <= high:",
                "if not isinstance(value, int) or not low <= value <= high:",
                ("tests/unit/client/wire/test_vectors.py::test_request",),
            ),
        ),
    ),
    Guarantee(
        "wire-is-bounded",
        (
            Mutant(
                "client/nsbroker/wire/packet.py",
                '    if len(packet) > max_bytes:\n        raise ProtocolError(f"the packet has more than',
                '    if len(packet) > 2 * max_bytes:\n        raise ProtocolError(f"the packet has more than',
                ("tests/unit/client/wire/test_errors_and_costs.py::test_packet_of_exactly_the_limit_is_read",),
            ),
            Mutant(
                "client/nsbroker/wire/packet.py",
                "unpackb(packet, max_array_len=max_items)",
                "unpackb(packet)",
                ("tests/unit/client/wire/test_errors_and_costs.py::test_lying_sizes_cost_little_memory",),
            ),
            Mutant(
                "client/nsbroker/wire/codec.py",
                'if not 1 <= len(sockets) <= MAX_SOCKETS:\n        raise ProtocolError(f"the request',
                'if not 0 <= len(sockets) <= MAX_SOCKETS:\n        raise ProtocolError(f"the request',
                ("tests/unit/client/wire/test_vectors.py::test_request",),
            ),
            Mutant(
                "client/nsbroker/wire/codec.py",
                "if len(options) > MAX_OPTIONS:",
                "if len(options) > 2 * MAX_OPTIONS:",
                ("tests/unit/client/wire/test_vectors.py::test_request",),
            ),
            Mutant(
                "client/nsbroker/wire/codec.py",
                "if len(setting) > MAX_OPTION_BYTES:",
                "if len(setting) > 2 * MAX_OPTION_BYTES:",
                ("tests/unit/client/wire/test_vectors.py::test_request",),
            ),
            Mutant(
                "client/nsbroker/wire/codec.py",
                "if len(value) > MAX_NAME_BYTES and len(value.encode()) > 4 * MAX_NAME_BYTES:",
                "if len(value) > 8 * MAX_NAME_BYTES:",
                ("tests/unit/client/wire/test_vectors.py::test_request",),
            ),
        ),
    ),
    Guarantee(
        "wire-addresses-are-numeric",
        (
            Mutant(
                "client/nsbroker/wire/addresses.py",
                "socket.inet_pton(family, host)",
                "host.encode()",
                ("tests/unit/client/wire/test_vectors.py::test_request",),
            ),
            Mutant(
                "client/nsbroker/wire/addresses.py",
                "if bind is None or proto != _IPPROTO_SCTP or family not in (_AF_INET, _AF_INET6):",
                "if bind is None or family not in (_AF_INET, _AF_INET6):",
                ("tests/unit/client/wire/test_vectors.py::test_request",),
            ),
        ),
    ),
)
