"""services and protocols of a namespace are read as glibc reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.names.files.numbers import Services, protocol_number

DIGITS = "9" * 5000
"""More than int() takes."""
SERVICES = Services(
    f"ours 4000/tcp theirs # x\nours\t4001/udp\n4002/tcp\nbad x/tcp\nbad 5\n#not 6/tcp\nbad {DIGITS}/tcp\n"
)
PROTOCOLS = f"ours 99 OURS # x\nbad\nbad x\nbad {DIGITS}\n"


def test_service_is_found_by_each_name_and_protocol() -> None:
    assert [SERVICES.port_of("ours"), SERVICES.port_of("theirs", "tcp"), SERVICES.port_of("ours", "udp")] == [
        4000,
        4000,
        4001,
    ]
    for name in ("OURS", "bad", "not", "x"):
        with pytest.raises(OSError, match="service/proto not found"):
            SERVICES.port_of(name)
    with pytest.raises(OSError, match="service/proto not found"):
        SERVICES.port_of("theirs", "udp")


def test_port_has_the_official_name() -> None:
    assert [SERVICES.name_of(4000), SERVICES.name_of(4001, "udp")] == ["ours", "ours"]
    for port, protocol in ((4001, "tcp"), (4002, "tcp"), (5, "")):
        with pytest.raises(OSError, match="port/proto not found"):
            SERVICES.name_of(port, protocol)


def test_protocol_is_found_by_each_name() -> None:
    assert protocol_number(PROTOCOLS, "ours") == protocol_number(PROTOCOLS, "OURS") == 99
    for name in ("bad", "x", "Ours"):
        with pytest.raises(OSError, match="protocol not found"):
            protocol_number(PROTOCOLS, name)


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    for find in (Services(text).port_of, lambda name: protocol_number(text, name)):
        with pytest.raises(OSError, match="not found"):
            find("absent name")
