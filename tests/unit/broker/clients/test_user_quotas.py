"""The quotas of one user: connections, and requests per second."""

from __future__ import annotations

from nsbrokerd.clients.admission import Users
from nsbrokerd.clients.client import RECORD_BYTES, RECORDED_REFUSALS
from nsbrokerd.clients.quotas import Quotas


def test_a_user_gets_its_share_of_clients_and_others_still_get_theirs() -> None:
    users = Users(Quotas(clients_per_user=2))
    first = users.admit(1000, 0.0)
    assert first is not None
    assert users.admit(1000, 0.0) is first
    assert users.admit(1000, 0.0) is None
    assert users.admit(1001, 0.0) is not None
    users.leave(first)
    assert users.admit(1000, 0.0) is first
    assert users.clients == 3
    assert users.connected == 2
    for _ in range(2):
        users.leave(first)
    assert users.connected == 1


def test_a_rate_is_granted_for_a_second_and_then_refilled() -> None:
    user = Users(Quotas(requests_per_second=10)).admit(1000, 0.0)
    assert user is not None
    assert [user.take_request(0.0, 10) for _ in range(11)] == [True] * 10 + [False]
    assert [user.take_request(0.5, 10) for _ in range(6)] == [True] * 5 + [False]


def test_an_allowance_never_grows_past_a_second_of_it() -> None:
    user = Users(Quotas(requests_per_second=10)).admit(1000, 0.0)
    assert user is not None
    assert sum(user.take_request(1000.0, 10) for _ in range(50)) == 10


def test_refusals_past_their_rate_get_no_record() -> None:
    user = Users(Quotas()).admit(1000, 0.0)
    assert user is not None
    assert [user.take_record(5.9) for _ in range(RECORDED_REFUSALS + 2)] == [True] * RECORDED_REFUSALS + [False] * 2
    assert [user.take_record(now) for now in (6.8, 6.9)] == [False, True]


def test_long_records_count_as_requests() -> None:
    """The first bytes are free. However long the records are, the user gets requests again after two seconds."""
    user = Users(Quotas(requests_per_second=10)).admit(1000, 0.0)
    assert user is not None
    user.charge_record(RECORD_BYTES)
    assert user.allowance == 10
    user.charge_record(4 * RECORD_BYTES)
    assert user.allowance == 7
    user.charge_record(10**9)
    assert not user.take_request(1.0, 10)
    assert user.take_request(1.2, 10)


def test_coming_back_does_not_refill_an_allowance() -> None:
    users = Users(Quotas(requests_per_second=10))
    user = users.admit(1000, 0.0)
    assert user is not None
    while user.take_request(0.0, 10):
        pass
    users.leave(user)
    users.forget_idle(1.0)
    again = users.admit(1000, 1.0)
    assert again is user
    users.leave(user)
    users.forget_idle(10.0)
    assert users.admit(1000, 10.0) is not user
