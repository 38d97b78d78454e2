"""The person of a uid, by the files that delegate ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbrokerd.clients.subordinate_ids import (
    EVERYBODY,
    MAX_ID,
    MAX_RANGES,
    Delegations,
    TooManyRangesError,
    parse_ids,
    parse_ranges,
)

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
alice:x:1000:1000:Alice:/home/alice:/bin/bash
bob:x:1001:1001::/home/bob:/bin/sh
toor:x:0:0::/root:/bin/sh
"""


def persons(subuid: str, subgid: str = "", passwd: str = PASSWD, group: str = "") -> Delegations:
    return Delegations(parse_ids(passwd, group, subuid, subgid))


def test_delegated_ids_are_their_users() -> None:
    found = persons("alice:100000:65536\nbob:165536:65536\nalice:300000:1\n")
    assert [found.person_of(uid) for uid in (100000, 165535, 300000, 1000)] == [1000] * 4
    assert [found.person_of(uid) for uid in (165536, 231071, 1001)] == [1001] * 3
    assert [found.person_of(uid) for uid in (99999, 231072, 300001, 4711, 0)] == [99999, 231072, 300001, 4711, 0]


@pytest.mark.parametrize("line", ["containers:100000:10", "root:100000:10", "toor:100000:10", "0:100000:10"])
def test_lines_of_no_user_but_root_are_one_person(line: str) -> None:
    """Its first id stands for it, and root itself is not part of it."""
    found = persons(f"{line}\nalice:200000:10\n{line.split(':')[0]}:300000:10\n")
    assert {found.person_of(uid) for uid in (*range(100000, 100010), *range(300000, 300010))} == {100000}
    assert found.person_of(0) == 0


def test_two_names_without_a_user_are_two_persons() -> None:
    found = persons("containers:100000:10\nvms:100010:10\n")
    assert (found.person_of(100009), found.person_of(100010)) == (100000, 100010)


@pytest.mark.parametrize("passwd", [PASSWD, ""])
def test_a_line_can_have_a_uid_in_place_of_a_name(passwd: str) -> None:
    """A directory service may have the user."""
    found = persons("1000:100000:65536\n", passwd=passwd)
    assert found.person_of(100000) == found.person_of(1000) == 1000


def test_a_name_of_digits_is_a_name_first() -> None:
    assert persons("77:100000:1\n", passwd="77:x:1005:5::/:/bin/sh\n").person_of(100000) == 1005


def test_a_users_own_uid_is_never_another_persons() -> None:
    """A line covers them by mistake. A line of the other user counts all the same."""
    found = persons("alice:1001:100\ncontainers:0:1001\nbob:2000:10\n1050:3000:10\n")
    assert [found.person_of(uid) for uid in (0, 1000, 1001, 1050, 2005, 3005)] == [0, 1000, 1001, 1050, 1001, 1050]
    assert [found.person_of(uid) for uid in (1002, 999)] == [1000, 1]


def test_ids_of_several_users_are_one_more_person() -> None:
    """So neither of them can use up what the other one has."""
    found = persons("alice:100000:100\nbob:100050:100\nalice:200000:10\nalice:200005:10\nbob:100149:1\n")
    assert [found.person_of(uid) for uid in (100049, 100050, 100099, 100100)] == [1000, 100050, 100050, 1001]
    assert [found.person_of(uid) for uid in (200000, 200007, 200014, 100149)] == [1000, 1000, 1000, 1001]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "#alice:100000:10",
        "alice",
        "alice:100000",
        "alice:100000:10:",
        ":100000:10",
        "alice:100000:0",
        "alice:100000:-1",
        "alice:-5:10",
        "alice:1e5:10",
        "alice:100000 :10",
        "alice:100000:ten",
        "alice::",
        "alice:٣:10",
        f"alice:{2**32 - 1}:10",
        f"alice:{'9' * 30}:10",
        f"alice:1:{'9' * 5000}",
    ],
)
def test_bad_lines_are_ignored(line: str) -> None:
    assert parse_ranges(f"{line}\nbob:7:1\n") == [("bob", 7, 7)]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ("0x186A0:0xa", (100000, 100009)),
        ("0303240:012", (100000, 100009)),
        (" +100000:\t10", (100000, 100009)),
        (f"100000:{2**63}", (100000, MAX_ID)),
        (f"{MAX_ID}:1", (MAX_ID, MAX_ID)),
    ],
)
def test_numbers_are_read_as_by_newuidmap(numbers: str, expected: tuple[int, int]) -> None:
    assert parse_ranges(f"alice:{numbers}") == [("alice", *expected)]


def test_too_many_lines_are_refused() -> None:
    lines = [f"alice:{number}:1" for number in range(MAX_RANGES + 1)]
    assert len(parse_ranges("\n".join(lines[:-1]))) == MAX_RANGES
    with pytest.raises(TooManyRangesError, match="more than 8192 lines"):
        parse_ranges("\n".join(lines))


def test_without_delegations_all_uids_of_no_user_are_one_person() -> None:
    found = persons(EVERYBODY)
    assert [found.person_of(uid) for uid in (0, 1000, 1001)] == [0, 1000, 1001]
    assert len({found.person_of(uid) for uid in (1, 999, 1002, 100000, MAX_ID)}) == 1


def test_a_grant_names_the_person_of_a_delegated_id() -> None:
    """By a uid or a gid. A gid that a group has by itself names no user, and neither does one of several users."""
    found = persons(
        "alice:100000:10\ncontainers:200000:10\n",
        "bob:100000:10\nalice:300000:10\nbob:300000:1\ncontainers:400000:1\nothers:500000:1\nalice:33:1\n",
        group="web:x:33:\n",
    )
    assert found.persons_named([100005, 77], []) == {1000, 77}
    assert found.persons_named([], [100005]) == {1001}
    assert found.persons_named([], [300001, 300000, 33, 77, 500000]) == {1000}
    assert found.persons_named([], [400000]) == {200000}


ids = st.integers(0, 60)
lines = st.tuples(st.sampled_from(["alice", "bob", "root", "x", "y", "31", "0"]), ids, ids)


@given(st.lists(lines, max_size=8), st.dictionaries(st.sampled_from(["alice", "bob"]), st.integers(1, 60)))
def test_persons_are_those_of_the_definition(drawn: list[tuple[str, int, int]], users: dict[str, int]) -> None:
    """Compare with sets of owners for each id. All ids of an owner have one person, and no others do."""
    passwd = "root:x:0:0::/:/\n" + "".join(f"{name}:x:{uid}:1::/:/\n" for name, uid in users.items())
    found = persons("".join(f"{name}:{first}:{count}\n" for name, first, count in drawn), passwd=passwd)
    by_name = {"root": 0, **users}
    uid_of = {name: by_name.get(name, int(name) if name.isdigit() else None) for name, _, _ in drawn}
    own = {0, *users.values(), *(uid_of[name] for name, _, count in drawn if count and uid_of[name])}
    groups: dict[object, set[int]] = {}
    for uid in range(130):
        owners = {uid_of[name] or name for name, first, count in drawn if first <= uid < first + count} - {None}
        key = ("user", uid) if uid in own or not owners else ("several",) if len(owners) > 1 else owners.pop()
        groups.setdefault(("user", key) if isinstance(key, int) else key, set()).add(uid)
    assert {key: {found.person_of(uid) for uid in uids} for key, uids in groups.items()} == {
        key: {key[1] if isinstance(key, tuple) and len(key) > 1 else min(uids)} for key, uids in groups.items()
    }


@given(st.text(max_size=200), st.text(alphabet="alice:0123456789x#\n -+", max_size=200))
def test_any_text_can_be_read(passwd: str, subuid: str) -> None:
    found = Delegations(parse_ids(passwd, passwd, subuid, subuid))
    assert found.person_of(found.person_of(100000)) == found.person_of(100000)
    assert found.persons_named([1], [1])
