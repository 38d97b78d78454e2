"""The quotas of one user: connections, and requests per second."""

from __future__ import annotations

from nsbrokerd.clients.admission import Users
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


def test_requests_past_the_rate_are_told_of_once_a_second_with_their_number() -> None:
    user = Users(Quotas()).admit(1000, 0.0)
    assert user is not None
    assert [user.count_excess(now) for now in (5.0, 5.1, 5.9, 6.0, 6.1, 8.0, 9.5)] == [0, None, None, 2, None, 1, 0]


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
