"""Life as a service: how the broker starts, reloads and stops, and that there is never a second one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from nsbroker.wire import DENIED, OVERLOADED, ErrorReply
from support.brokers.activated import ActivatedBroker
from support.brokers.process import EVERYTHING, START_S, STOP_S, BrokerProcess
from support.brokers.raw_client import RawClient, tcp
from support.namespaces import PREFIX, why_not
from support.process_state import stopped
from support.users import GROUP, USER
from support.waiting import wait_until

NOTHING = f'[[grant]]\nname = "nothing here"\nusers = [{USER}]\nnamespaces = ["@host"]\nsockets = ["tcp"]\n'
BROKEN = EVERYTHING.replace("users", "user").replace("*:*", "*:*:")


@pytest.fixture
def another(broker: BrokerProcess) -> Iterator[BrokerProcess]:
    """A broker that is not started, with the same socket."""
    other = BrokerProcess(EVERYTHING)
    other.socket_path = broker.socket_path
    other.configure(EVERYTHING)
    yield other
    other.close()


def start(broker: BrokerProcess) -> subprocess.Popen[str]:
    return subprocess.Popen(broker.command(), stderr=subprocess.PIPE, text=True, cwd=broker.directory)


def works(broker: BrokerProcess) -> bool:
    with RawClient(broker) as client:
        return client.works()


def end(broker: BrokerProcess) -> int:
    """Wait until the broker ends by itself, with its status."""
    assert broker.process is not None
    return broker.process.wait(STOP_S)


def test_socket_of_a_service_manager_is_served_and_left_there() -> None:
    broker = ActivatedBroker(EVERYTHING)
    try:
        for _ in range(2):
            broker.start()
            assert works(broker)
            broker.stop()
            assert broker.socket_path.exists()
    finally:
        broker.close()


@pytest.mark.parametrize(
    ("family", "kind", "count", "reason"),
    [
        (socket.AF_UNIX, socket.SOCK_SEQPACKET, 2, "passed 2 sockets"),
        (socket.AF_UNIX, socket.SOCK_STREAM, 1, "configure it by ListenSequentialPacket="),
        (socket.AF_INET, socket.SOCK_STREAM, 1, "configure it by ListenSequentialPacket="),
    ],
)
def test_other_sockets_of_a_service_manager_are_refused(
    broker: BrokerProcess, family: int, kind: int, count: int, reason: str
) -> None:
    launcher = (
        f"import os, sys; os.dup2(int(sys.argv[1]), 3);"
        f"os.environ.update(LISTEN_FDS='{count}', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
    )
    with socket.socket(family, kind) as sock:
        if family == socket.AF_UNIX:
            sock.bind("")  # an abstract name of the kernel's choice
        sock.listen()
        command = [sys.executable, "-c", launcher, str(sock.fileno()), *broker.command()]
        done = subprocess.run(
            command, pass_fds=[sock.fileno()], capture_output=True, text=True, timeout=START_S, check=False
        )
    assert (done.returncode, reason in done.stderr) == (1, True), done.stderr


def test_service_manager_hears_of_each_step(broker: BrokerProcess) -> None:
    """Ready was heard already by the fixture. Source: sd_notify(3)."""
    os.kill(broker.pid, signal.SIGHUP)
    assert "MONOTONIC_USEC=" in broker.wait_for("RELOADING=1", START_S)
    assert "STATUS=serving (grants: 1, in force since 20" in broker.wait_for("READY=1", START_S)
    os.kill(broker.pid, signal.SIGTERM)
    broker.wait_for("STOPPING=1", STOP_S)
    assert end(broker) == 0


def test_own_socket_is_for_its_group_and_goes_with_the_broker(broker: BrokerProcess) -> None:
    status = broker.socket_path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, GROUP, 0o660)
    broker.stop()
    assert not broker.socket_path.exists()


def test_socket_of_a_broker_that_was_killed_is_replaced(broker: BrokerProcess) -> None:
    broker.kill()
    assert broker.socket_path.exists()
    broker.start()
    assert works(broker)


def test_second_broker_refuses_while_the_first_one_lives(broker: BrokerProcess, another: BrokerProcess) -> None:
    """Also while the first one does not answer."""
    with stopped(broker.pid):
        second = start(another)
        assert "another broker serves" in second.communicate(timeout=START_S)[1]
        assert second.returncode == 1
    assert works(broker)


def test_one_of_many_that_start_at_once_gets_the_socket(broker: BrokerProcess, another: BrokerProcess) -> None:
    """Over the socket that a dead one left, so that each of them wants to replace it."""
    broker.kill()
    started = [start(another) for _ in range(5)]
    wait_until(lambda: sum(one.poll() is None for one in started) <= 1 and another.socket_path.exists())
    [winner] = [one for one in started if one.poll() is None]
    assert works(broker)
    winner.terminate()
    assert [one.wait(STOP_S) for one in started] == [int(one is not winner) for one in started]
    for one in started:
        one.communicate()


def test_another_programs_socket_is_not_taken(broker: BrokerProcess, another: BrokerProcess) -> None:
    broker.stop()
    for kind in (socket.SOCK_SEQPACKET, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as sock:
            sock.bind(str(broker.socket_path))
            sock.listen()
            assert "another program listens on" in start(another).communicate(timeout=START_S)[1]
            broker.socket_path.unlink()


def test_what_is_no_socket_stays_where_it_is(broker: BrokerProcess, another: BrokerProcess) -> None:
    broker.stop()
    precious = broker.directory / "precious"
    precious.write_text("data")
    for make in (lambda path: path.write_text("data"), lambda path: path.symlink_to(precious)):
        make(broker.socket_path)
        assert "is no socket" in start(another).communicate(timeout=START_S)[1]
        assert broker.socket_path.read_text() == precious.read_text() == "data"
        broker.socket_path.unlink()


def test_requests_in_flight_are_answered_before_the_end(broker: BrokerProcess) -> None:
    """The broker answers requests from before SIGTERM. Waiting clients get no answer, and ask the next broker."""
    with RawClient(broker) as client, RawClient(broker) as waiting:
        waiting.send(tcp(f"{PREFIX}never", wait_s=60))
        assert waiting.works()
        with stopped(broker.pid):
            for number in range(10):
                client.send(tcp("@host", request_id=number))
            os.kill(broker.pid, signal.SIGTERM)
        assert [getattr(client.receive(), "request_id", None) for _ in range(10)] == list(range(10))
        assert len(client.fds) == 10
        assert waiting.has_hung_up()
        assert client.has_hung_up()
        assert end(broker) == 0


def test_reload_changes_the_policy_of_those_who_are_connected(broker: BrokerProcess) -> None:
    with RawClient(broker) as client:
        assert client.works()
        broker.configure(NOTHING)
        broker.reload()
        assert client.refusal(tcp("@host")).code == DENIED
        broker.configure(EVERYTHING)
        broker.reload()
        assert client.works()


@pytest.mark.parametrize(("grants", "settings"), [(BROKEN, ""), (NOTHING, "[log]\nlevel = 1\n"), ("[[", "")])
def test_broken_reload_keeps_everything_as_it_was(broker: BrokerProcess, grants: str, settings: str) -> None:
    """The broker takes over the whole configuration or no part of it. The log has file, key and reason."""
    broker.configure(grants, settings)
    broker.reload()
    assert works(broker)
    assert '"event": "reload failed"' in broker.log()
    assert str(broker.config_path) in broker.log()


def test_reload_whose_audit_cant_be_written_keeps_everything_as_it_was(broker: BrokerProcess) -> None:
    path = broker.audit_path
    broker.audit_path = broker.directory / "missing" / "audit.json"
    broker.configure(NOTHING)
    broker.reload()
    broker.audit_path = path
    assert works(broker)
    assert "audit.path" in broker.log()
    assert len(broker.audit()) == 1


def test_audit_goes_on_in_a_new_file_after_a_reload(broker: BrokerProcess) -> None:
    """As log rotation needs it: the old file is moved away, and no record is lost."""
    assert works(broker)
    moved = broker.audit_path.rename(broker.directory / "audit.1")
    assert works(broker)
    broker.reload()
    assert works(broker)
    assert len(moved.read_text().splitlines()) == 2
    assert len(broker.audit()) == 1


class Unheard(BrokerProcess):
    """A broker that can't write its log."""

    def command(self) -> list[str]:
        return ["sh", "-c", 'exec "$@" 2>/dev/full', "sh", *super().command()]


def test_broker_whose_log_cant_be_written_goes_on() -> None:
    """It starts, reloads, turns clients away and stops, as if somebody listened."""
    if reason := why_not():
        pytest.skip(reason)
    broker = Unheard(EVERYTHING, "[quotas]\nclients = 1\n")
    try:
        broker.start()
        broker.reload()
        with RawClient(broker) as client:
            with RawClient(broker) as other:
                refused = other.receive()
            assert isinstance(refused, ErrorReply)
            assert refused.code == OVERLOADED
            assert client.works()
        broker.stop()
    finally:
        broker.close()


def test_audit_that_is_a_pipe_without_a_reader_is_refused_at_once(broker: BrokerProcess) -> None:
    """It would be waited for, and everybody with it."""
    path, broker.audit_path = broker.audit_path, broker.directory / "pipe"
    os.mkfifo(broker.audit_path)
    broker.configure(NOTHING)
    broker.reload()
    broker.audit_path = path
    assert works(broker)
    assert "audit.path" in broker.log()
