"""A person with many uids gets no more of the broker than one with a single uid, and named persons find room."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support.brokers.process import EVERYTHING, BrokerProcess
from support.brokers.raw_client import RawClient, connect_as
from support.own_etc import own_etc
from support.users import OTHER_USER, UIDS, USER
from support.waiting import wait_until

NAMED = f'\n[[grant]]\nname = "named"\nusers = [{OTHER_USER}]\nnamespaces = ["@host"]\nsockets = ["tcp"]\n'
SUBORDINATE = UIDS[100:110]
STRANGERS = UIDS[200:220]


def quotas(**settings: int) -> str:
    return "[quotas]\n" + "\n".join(f"{key} = {value}" for key, value in settings.items()) + "\n"


@pytest.fixture
def etc() -> Iterator[Path]:
    """An /etc in which USER has a name, and no id is delegated."""
    with own_etc() as etc:
        with (etc / "passwd").open("a") as passwd:
            passwd.write(f"mallory:x:{USER}:{USER}::/:/bin/sh\n")
        (etc / "subuid").write_text("")
        (etc / "subgid").write_text("")
        yield etc


def is_admitted(client: RawClient) -> bool:
    with suppress(BrokenPipeError, ConnectionResetError):
        return client.works()
    return False


def connect(stack: ExitStack, broker: BrokerProcess, uids: Sequence[int]) -> int:
    """Connect as each of these uids. Return the number of clients that the broker admits and that stay connected."""
    clients = [stack.enter_context(connect_as(uid, broker)) for uid in uids]
    return sum(map(is_admitted, clients))


def test_subordinate_uids_count_as_their_user(etc: Path, start_broker: Callable[..., BrokerProcess]) -> None:
    """They are refused together with it. Another user still gets in."""
    (etc / "subuid").write_text(f"mallory:{SUBORDINATE[0]}:{len(SUBORDINATE)}\n")
    broker = start_broker(EVERYTHING, quotas(clients=24, clients_per_user=3))
    with ExitStack() as stack:
        assert connect(stack, broker, [USER, *SUBORDINATE[:4]] * 4) == 3
        assert connect(stack, broker, [OTHER_USER]) == 1


def test_delegations_that_change_hold_for_new_clients(etc: Path, start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker(EVERYTHING, quotas(clients=100, clients_per_user=1))
    with ExitStack() as stack:
        assert connect(stack, broker, SUBORDINATE[:2]) == 2
    (etc / "subuid").write_text(f"mallory:{SUBORDINATE[0]}:{len(SUBORDINATE)}\n")

    def are_one_person() -> bool:
        with ExitStack() as stack:
            return connect(stack, broker, SUBORDINATE[:2]) == 1

    wait_until(are_one_person)


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o666), lambda path: path.write_bytes(bytes(2**22))])
def test_bad_file_makes_one_person_of_all_that_are_no_users(
    etc: Path, start_broker: Callable[..., BrokerProcess], spoil: Callable[[Path], object]
) -> None:
    """A user that exists is a person of its own. The log names the reason."""
    spoil(etc / "subuid")
    broker = start_broker(EVERYTHING, quotas(clients=24, clients_per_user=2))
    with ExitStack() as stack:
        assert connect(stack, broker, STRANGERS[:10]) == 2
        assert connect(stack, broker, [USER]) == 1
    assert "all uids outside of /etc/passwd count as one person" in broker.log()
    assert "/etc/subuid" in broker.log()


def test_person_that_a_grant_names_finds_room(start_broker: Callable[..., BrokerProcess]) -> None:
    """Others get half of the clients, however many uids they have."""
    broker = start_broker(EVERYTHING + NAMED, quotas(clients=8))
    with ExitStack() as stack:
        assert connect(stack, broker, [*STRANGERS[:6], *STRANGERS[:6]]) == 4
        assert connect(stack, broker, [OTHER_USER] * 5) == 4
    wait_until(lambda: not _is_full(broker))


def _is_full(broker: BrokerProcess) -> bool:
    with ExitStack() as stack:
        return connect(stack, broker, STRANGERS[:4]) < 4


def test_a_reload_names_other_persons(start_broker: Callable[..., BrokerProcess]) -> None:
    """Clients that are connected count anew."""
    broker = start_broker(EVERYTHING + NAMED, quotas(clients=8))
    with ExitStack() as stack:
        assert connect(stack, broker, [OTHER_USER] * 4) == 4
        broker.configure(EVERYTHING + NAMED.replace(str(OTHER_USER), str(STRANGERS[0])), quotas(clients=8))
        broker.reload()
        assert connect(stack, broker, [OTHER_USER]) == 0
        assert connect(stack, broker, [STRANGERS[0]] * 2) == 2
