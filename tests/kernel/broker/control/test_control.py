"""A real broker tells its status, its health and the outcome of a reload over its control socket."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

import pytest

from nsbroker.wire import DENIED, NamespacesRequest
from nsbrokerd.control.asking import RefusedError, UnreachableError, ask
from nsbrokerd.control.packets import RELOAD, SOCKETS, STATUS, Request
from support.brokers.commands import run_command, status_of
from support.brokers.process import EVERYTHING, BrokerProcess
from support.brokers.raw_client import RawClient, connect_as, tcp
from support.namespaces import why_not
from support.process_state import stopped
from support.users import USER, as_unprivileged
from support.waiting import wait_until

BROKEN = "[[grant]]\nnaem = 1\n"
TIMEOUT_S = 60


@pytest.fixture(autouse=True)
def _needs_namespaces() -> None:
    if reason := why_not():
        pytest.skip(reason)


def control_path(broker: BrokerProcess) -> str:
    return str(broker.directory / "control.sock")


def ask_as_user(broker: BrokerProcess, word: str) -> object:
    return as_unprivileged(ask, control_path(broker), Request(word), TIMEOUT_S)


def test_socket_of_a_broker_started_by_hand_is_for_root_alone(broker: BrokerProcess) -> None:
    status = os.stat(control_path(broker))
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o600, 0, 0)
    with pytest.raises(UnreachableError, match="no permission to connect"):
        ask_as_user(broker, STATUS)
    broker.stop()
    assert not os.path.exists(control_path(broker))


def test_only_root_reloads(broker: BrokerProcess) -> None:
    """Whoever may connect can read the status. The kernel tells who it is."""
    os.chmod(control_path(broker), 0o666)
    for word in (RELOAD, SOCKETS):
        with pytest.raises(RefusedError, match="only root may ask"):
            ask_as_user(broker, word)
    assert ask_as_user(broker, STATUS)
    assert status_of(broker)["reload"] is None
    assert run_command(broker, "reload").returncode == 0
    assert status_of(broker)["reload"]["problem"] is None


def test_reload_waits_for_its_outcome(broker: BrokerProcess) -> None:
    done = run_command(broker, "reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("reloaded (grants: 1, in force since 20")
    broker.configure(EVERYTHING + EVERYTHING.replace("everything", "again"))
    assert "grants: 2" in run_command(broker, "reload").stdout
    with RawClient(broker) as client:
        assert client.works()
        broker.configure(BROKEN)
        done = run_command(broker, "reload")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"nsbrokerd: {broker.config_path}" in done.stderr
        assert "unknown key" in done.stderr
        assert "not reloaded" in done.stderr
        assert client.works()
    assert status_of(broker)["policy"]["grants"] == 2
    assert str(broker.config_path) in status_of(broker)["reload"]["problem"]


def test_commands_say_that_no_broker_is_there(broker: BrokerProcess) -> None:
    """They find out where it should be, also from a file that is broken."""
    broker.stop()
    broker.configure("x =")
    for command in ("status", "reload", "health"):
        done = run_command(broker, command)
        assert done.returncode == 2
        assert f"no broker listens at {control_path(broker)}: start it" in done.stdout + done.stderr
    assert "SIGHUP reloads a broker without a control socket" in run_command(broker, "reload").stderr


def test_health_is_one_line_and_a_status(broker: BrokerProcess) -> None:
    done = run_command(broker, "health")
    assert done.returncode == 0
    assert done.stdout.startswith("healthy: serving (grants: 1, in force since ")
    broker.configure(BROKEN)
    run_command(broker, "reload")
    done = run_command(broker, "health")
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stdout.startswith("not healthy: the last reload: failed")
    broker.configure(EVERYTHING)
    run_command(broker, "reload")
    assert run_command(broker, "health").returncode == 0


def test_hanging_broker_is_not_healthy(broker: BrokerProcess) -> None:
    with stopped(broker.pid):
        done = run_command(broker, "health")
        assert done.returncode == 2
        assert "does not answer within 1.5 s" in done.stdout
    assert run_command(broker, "health").returncode == 0


def test_status_counts_by_user_grant_and_namespace(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    name = make_namespace()
    with connect_as(USER, broker) as client, RawClient(broker) as other:
        assert other.works()
        with connect_as(USER, broker) as odd:
            odd.refusal(b"\xc1")
        for _ in range(3):
            assert client.works(name)
        assert client.refusal(tcp("other")).code == DENIED
        client.ask(NamespacesRequest(7))
        wait_until(lambda: status_of(broker)["clients"] == 2)
        status = status_of(broker)
    assert (status["clients"], status["persons"]) == (2, 2)
    assert status["requests"] == {"answered": {"open": 4, "namespaces": 1}, "refused": 2}
    assert status["sockets"] == [
        {"uid": USER, "grant": "everything", "namespace": name, "count": 3},
        {"uid": 0, "grant": "everything", "namespace": "@host", "count": 1},
    ]
    assert {(one["uid"], one["reason"], one["grant"], one["count"]) for one in status["refusals"]} == {
        (USER, "denied", "", 1),
        (USER, "bad-request", "", 1),
    }
    quotas = {one["quota"]: one for one in status["quotas"]}
    assert quotas["clients"]["used"] == 2
    assert quotas["clients_per_user"]["used"] == 1
    assert quotas["requests_per_second"]["uid"] == USER
    assert (status["pid"], status["policy"]["grants"]) == (broker.pid, 1)


def test_status_for_people_names_everything(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    name = make_namespace()
    with connect_as(USER, broker) as client:
        assert client.works(name)
        client.refusal(tcp("other"))
    broker.configure(BROKEN)
    run_command(broker, "reload")
    text = run_command(broker, "status").stdout
    for wanted in (
        "nsbrokerd  ",
        f"pid {broker.pid}",
        f"policy     {broker.config_path}, grants: 1, in force since 20",
        "reload     failed at 20",
        "FAULT      the last reload: failed",
        "requests   answered: open 1; refused: 1",
        "clients_per_user",
        f"1  {USER}  everything  {name}",
        f"1  {USER}  denied  -",
    ):
        assert wanted in text


def test_client_that_leaves_nothing_is_forgotten(broker: BrokerProcess) -> None:
    """The status of a broker that had a client keeps the counts, and no client."""
    with RawClient(broker) as client:
        assert client.works()
    wait_until(lambda: status_of(broker)["clients"] == 0)
    assert status_of(broker)["requests"]["answered"] == {"open": 1}
