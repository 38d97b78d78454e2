"""The addresses of bind(2) that a supervisor looks at."""

from __future__ import annotations

import socket
import struct

import pytest

from nsbroker.supervise.low_ports import low_port_line, read_low_address

IPV4 = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", 80, socket.inet_pton(socket.AF_INET, "10.0.0.1"))
HOST = socket.inet_pton(socket.AF_INET6, "fe80::1")
IPV6 = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16s", 443, 7, HOST) + struct.pack("=I", 3)


def test_low_ports_are_read_as_the_kernel_reads_them() -> None:
    assert read_low_address(IPV4) == (socket.AF_INET, ("10.0.0.1", 80))
    assert read_low_address(IPV4[:8]) == (socket.AF_INET, ("10.0.0.1", 80))
    assert read_low_address(IPV6) == (socket.AF_INET6, ("fe80::1", 443, 7, 3))


@pytest.mark.parametrize("port", [0, 1024, 65535])
def test_other_ports_are_no_low_ports(port: int) -> None:
    assert read_low_address(IPV4[:2] + struct.pack("!H", port) + IPV4[4:]) is None
    assert read_low_address(IPV6[:2] + struct.pack("!H", port) + IPV6[4:]) is None


@pytest.mark.parametrize("data", [b"", b"\2", IPV4[:7], IPV6[:27], b"\1\0" + IPV4[2:], b"\x10\0" + IPV6[2:]])
def test_other_addresses_have_no_low_port(data: bytes) -> None:
    """Those of other families, and those that are too short."""
    assert read_low_address(data) is None


def test_line_names_the_port_and_the_remedy() -> None:
    assert "may not bind port 80, " in low_port_line(80)
    assert "nsbroker-get NS listen -l 80 -- CMD" in low_port_line(80)
