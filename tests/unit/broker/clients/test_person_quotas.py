"""The quotas of one user: connections, and requests per second."""

from __future__ import annotations

from nsbrokerd.clients.client import RECORD_BYTES, RECORDED_REFUSALS
from nsbrokerd.clients.persons import Persons
from nsbrokerd.clients.quotas import Quotas
from nsbrokerd.clients.subordinate_ids import Delegations, parse_ids
from nsbrokerd.policy import Grant, NamespaceRule
from nsbrokerd.policy.naming import Naming, naming


def test_a_user_gets_its_share_of_clients_and_others_still_get_theirs() -> None:
    persons = Persons(Quotas(clients_per_user=2))
    first = persons.admit(1000, 0.0)
    assert first is not None
    assert persons.admit(1000, 0.0) is first
    assert persons.admit(1000, 0.0) is None
    assert persons.admit(1001, 0.0) is not None
    persons.leave(first)
    assert persons.admit(1000, 0.0) is first
    assert persons.clients == 3
    assert persons.connected == 2
    for _ in range(2):
        persons.leave(first)
    assert persons.connected == 1


def test_a_rate_is_granted_for_a_second_and_then_refilled() -> None:
    person = Persons(Quotas(requests_per_second=10)).admit(1000, 0.0)
    assert person is not None
    assert [person.take_request(0.0, 10) for _ in range(11)] == [True] * 10 + [False]
    assert [person.take_request(0.5, 10) for _ in range(6)] == [True] * 5 + [False]


def test_an_allowance_never_grows_past_a_second_of_it() -> None:
    person = Persons(Quotas(requests_per_second=10)).admit(1000, 0.0)
    assert person is not None
    assert sum(person.take_request(1000.0, 10) for _ in range(50)) == 10


def test_refusals_past_their_rate_get_no_record() -> None:
    person = Persons(Quotas()).admit(1000, 0.0)
    assert person is not None
    assert [person.take_record(5.9) for _ in range(RECORDED_REFUSALS + 2)] == [True] * RECORDED_REFUSALS + [False] * 2
    assert [person.take_record(now) for now in (6.8, 6.9)] == [False, True]


def test_long_records_count_as_requests() -> None:
    """The first bytes are free. However long the records are, the user gets requests again after two seconds."""
    person = Persons(Quotas(requests_per_second=10)).admit(1000, 0.0)
    assert person is not None
    person.charge_record(RECORD_BYTES)
    assert person.allowance == 10
    person.charge_record(4 * RECORD_BYTES)
    assert person.allowance == 7
    person.charge_record(10**9)
    assert not person.take_request(1.0, 10)
    assert person.take_request(1.2, 10)


def test_coming_back_does_not_refill_an_allowance() -> None:
    persons = Persons(Quotas(requests_per_second=10))
    person = persons.admit(1000, 0.0)
    assert person is not None
    while person.take_request(0.0, 10):
        pass
    persons.leave(person)
    persons.forget_idle(1.0)
    again = persons.admit(1000, 1.0)
    assert again is person
    persons.leave(person)
    persons.forget_idle(10.0)
    assert persons.admit(1000, 10.0) is not person


class FakeOwners(Delegations):
    """Delegations that change when a test says so."""

    changed = False

    def __init__(self, subuid: str, subgid: str = "") -> None:
        super().__init__(parse_ids("alice:x:1000:1::/:/\n", "", subuid, subgid))

    def refresh(self, _now: float) -> bool:
        return self.changed


def test_all_uids_of_a_user_are_one_person() -> None:
    persons = Persons(Quotas(clients_per_user=2), FakeOwners("alice:100000:10\n"))
    first = persons.admit(100003, 0.0)
    assert first is not None
    assert first.uid == 1000
    assert persons.admit(1000, 0.0) is first
    assert persons.admit(100004, 0.0) is None
    assert persons.admit(100010, 0.0) is not None


def test_new_delegations_hold_for_the_next_client_of_a_new_uid() -> None:
    owners = FakeOwners("")
    persons = Persons(Quotas(), owners)
    alone = persons.admit(100001, 0.0)
    owners.__init__("alice:100000:10\n")  # type: ignore[misc]  # as if the file had changed
    owners.changed = True
    user = persons.admit(1000, 0.0)
    owners.changed = False
    assert user is not None
    assert persons.admit(100001, 0.0) is user is not alone


def test_delegations_are_read_again_each_second() -> None:
    """So they hold for uids that are known already as well."""
    owners = FakeOwners("")
    persons = Persons(Quotas(), owners, Naming(frozenset({100001}), frozenset()))
    user = persons.admit(1000, 0.0)
    assert user is not None
    assert not user.is_named
    owners.__init__("alice:100000:10\n")  # type: ignore[misc]  # as if the file had changed
    owners.changed = True
    persons.forget_idle(1.0)
    assert user.is_named


def test_unnamed_persons_get_half_of_the_clients() -> None:
    persons = Persons(Quotas(clients=6), None, Naming(frozenset({7}), frozenset({50})))
    unnamed = [persons.admit(uid, 0.0) for uid in range(1000, 1004)]
    assert [person is None for person in unnamed] == [False] * 3 + [True]
    assert persons.admit(7, 0.0) is not None
    assert persons.admit(1005, 0.0, frozenset({50})) is not None
    assert unnamed[0] is not None
    persons.leave(unnamed[0])
    assert persons.admit(1000, 0.0) is unnamed[0]
    assert persons.admit(1001, 0.0) is None
    # A person counts as named from its first client with such a group on.
    assert persons.admit(1001, 0.0, frozenset({50})) is unnamed[1]
    assert [persons.admit(1006, 0.0) is None for _ in range(2)] == [False, True]
    persons.use_naming(Naming(frozenset({1000}), frozenset()))
    assert persons.admit(1006, 0.0) is None
    persons.use_naming(Naming(frozenset({7, 1000, 1001, 1002, 1005}), frozenset()))
    assert persons.admit(1006, 0.0) is not None


def test_unnamed_persons_get_half_of_the_descriptors() -> None:
    """Each client takes two, and each person another."""
    persons = Persons(Quotas(), None, Naming())
    persons.most_descriptors = 16
    assert [persons.admit(1000, 0.0) is not None for _ in range(5)] == [True] * 3 + [False] * 2
    persons = Persons(Quotas(), None, Naming())
    persons.most_descriptors = 16
    assert [persons.admit(uid, 0.0) is not None for uid in range(5)] == [True] * 2 + [False] * 3


def test_a_grant_for_everyone_names_nobody_but_root() -> None:
    """A grant for the group of the socket is one for everyone that can connect."""
    rules = NamespaceRule.parse(["blue"])
    grants = [
        Grant("all", None, frozenset(), rules, frozenset({"tcp"})),
        Grant("some", frozenset({7}), frozenset({50, 51}), rules, frozenset({"tcp"})),
    ]
    assert naming(grants, 50) == Naming(frozenset({0, 7}), frozenset({51}))


def test_a_grant_for_a_delegated_id_names_its_user() -> None:
    owners = FakeOwners("alice:100000:10\nbob:200000:10\n", "alice:300000:10\n")
    for named in (Naming(frozenset({100005}), frozenset()), Naming(frozenset(), frozenset({300005}))):
        persons = Persons(Quotas(clients=2), owners, named)
        assert persons.admit(200000, 0.0) is not None
        assert persons.admit(200001, 0.0) is None
        assert persons.admit(1000, 0.0) is not None
