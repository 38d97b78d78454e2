"""The entries of the seal's maps, and the layout of the kernel's types."""

from __future__ import annotations

import struct

import pytest

from nsbrokerd.policy import AddressRule, Limit
from nsbrokerd.policy.limit import MAX_RULES
from nsbrokerd.seal import layout
from nsbrokerd.seal.btf import VALUE_TYPE, KernelTypes, describe_entry
from nsbrokerd.seal.programs import PROGRAMS
from nsbrokerd.seal.programs.iterator import FIELDS, RECORD, LiveSocket, Selection, write_iterator


@pytest.mark.parametrize(
    ("text", "network", "mask", "family", "ports"),
    [
        ("*:53", b"", b"", 0, (53, 53)),
        ("10.0.0.0/8:*", b"\x0a", b"\xff", 4, (0, 65535)),
        ("[fd00::/8]:8000-8999", b"\xfd", b"\xff", 6, (8000, 8999)),
        ("0.0.0.0/0:1", b"", b"", 4, (1, 1)),
    ],
)
def test_rule_is_a_network_a_mask_and_ports(
    text: str, network: bytes, mask: bytes, family: int, ports: tuple[int, int]
) -> None:
    encoded = layout.encode_rule(AddressRule.parse(text))
    assert encoded == network.ljust(16, b"\0") + mask.ljust(16, b"\0") + struct.pack("=IHH", family, *ports)


def test_limit_says_how_many_rules_there_are() -> None:
    """None means any address, and an empty list means no address."""
    rules = tuple(AddressRule.parse(f"*:{port}") for port in (1, 2, 3))
    for limit, counts in (
        (Limit(rules, ()), (3, 0)),
        (Limit(None, rules), (0xFFFFFFFF, 3)),
        (None, (0xFFFFFFFF, 0xFFFFFFFF)),
    ):
        encoded = layout.encode_limit(limit)
        assert len(encoded) == layout.LIMIT_BYTES
        assert struct.unpack_from("=II", encoded) == counts
    encoded = layout.encode_limit(Limit((), rules))
    assert encoded[layout.BIND.first :].startswith(b"".join(map(layout.encode_rule, rules)))
    with pytest.raises(ValueError, match="at most"):
        layout.encode_limit(Limit(rules[:1] * (MAX_RULES + 1)))


def test_grant_has_the_same_number_for_ever() -> None:
    """The kernel's maps of a former broker have it."""
    assert layout.grant_id("web") == 0x7496A59A64098050
    assert layout.grant_id("web") != layout.grant_id("Web")
    assert layout.decode_name(layout.encode_name("wéb " * 25)) == "wéb " * 25


def test_own_types_are_read_as_the_kernels_are() -> None:
    """The notes on an entry have its fields at the places where the programs look for them."""
    types = KernelTypes(describe_entry("sealed_socket", layout.ENTRY_MEMBERS))
    offsets = types.offsets("sealed_socket", tuple(name for name, _ in layout.ENTRY_MEMBERS))
    assert offsets == {
        "grant": layout.ENTRY_GRANT,
        "netns": layout.ENTRY_NETNS,
        "cookie": layout.ENTRY_COOKIE,
        "since_ns": 24,
        "uid": layout.ENTRY_UID,
        "flags": layout.ENTRY_FLAGS,
    }
    assert VALUE_TYPE == 4
    assert sum(size for _, size in layout.ENTRY_MEMBERS) == layout.ENTRY.size
    with pytest.raises(OSError, match="no other"):
        types.offsets("other", ())
    with pytest.raises(OSError, match="has no color"):
        types.offsets("sealed_socket", ("color",))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_program_is_whole(program: object) -> None:
    """Every jump has its place. The stub denies if there is no next program."""
    [one] = [each for each in PROGRAMS if each is program]
    assert len(one.assemble(3, 4)) % 8 == 0
    assert list(struct.iter_unpack("=BBhi", one.assemble_stub(5)))[-2:] == [(0xB7, 0, 0, 0), (0x95, 0, 0, 0)]


def test_iterator_writes_all_of_a_record() -> None:
    """From the stack, on which there is room for it."""
    offsets = dict.fromkeys(FIELDS, 0)
    code = list(struct.iter_unpack("=BBhi", write_iterator(offsets, Selection(cookie=2**63), revokes=True)))
    stored = {offset for opcode, registers, offset, _ in code if opcode in (0x63, 0x7B) and registers & 15 == 10}
    assert min(stored) == -RECORD.size
    assert max(stored) == -4
    assert RECORD.size <= 512
    assert LiveSocket(*RECORD.unpack(bytes(RECORD.size))).local == ("::", 0)
