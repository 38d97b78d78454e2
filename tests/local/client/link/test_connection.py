"""The connection to the broker: timeouts, restarts, threads, forks, and a broker that is not there."""

from __future__ import annotations

import errno
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

import nsbroker.drivers.thread
import nsbroker.link.broker
from nsbroker import BrokerUnavailableError, Client, SocketSpec
from nsbroker.link.connection import Connection, connect_to_broker
from support.brokers.fake import FakeBroker, Visit, descriptors, die, fake_broker, fds_of, honest
from support.users import GROUP, USER
from support.waiting import wait_until

CONNECT_CALLS = {"x86_64": "42", "aarch64": "203"}
TCP = SocketSpec("blue", socket.AF_INET, socket.SOCK_STREAM)
UDP = SocketSpec("blue", socket.AF_INET, socket.SOCK_DGRAM)


def open_and_close(client: Client) -> None:
    for sock in client.open([TCP]):
        sock.close()


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # these tests are about fork with threads
        return os.fork()


def exit_status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_one_connection_serves_one_call_after_the_other(broker: FakeBroker) -> None:
    with Client(broker.path) as client:
        for _ in range(3):
            open_and_close(client)
    assert [line.split()[0] for line in broker.seen()] == ["1", "2", "3"]


def test_silent_broker_ends_in_a_timeout(broker: FakeBroker) -> None:
    """SIGSTOP, as a debugger or a cgroup freezer does: the kernel still accepts connections and packets."""
    os.kill(broker.pid, signal.SIGSTOP)
    before = descriptors(first=True)
    with pytest.raises(BrokerUnavailableError, match=r"did not answer within 0\.05 s") as caught:
        Client(broker.path, timeout=0.05).open([TCP])
    assert caught.value.errno == errno.ETIMEDOUT
    assert descriptors() == before


def test_silent_broker_holds_up_a_thread_no_longer_than_its_timeout(broker: FakeBroker) -> None:
    os.kill(broker.pid, signal.SIGSTOP)
    errors: list[OSError] = []

    def ask() -> None:
        try:
            Client(broker.path, timeout=0.05).open([TCP])
        except BrokerUnavailableError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(20)
    assert [error.errno for error in errors] == [errno.ETIMEDOUT]


def test_timeout_may_be_as_long_as_one_likes(broker: FakeBroker) -> None:
    with Client(broker.path, timeout=float("inf")) as client:
        open_and_close(client)


def test_ticking_timer_does_not_put_off_the_timeout(broker: FakeBroker) -> None:
    """A profiler's signals interrupt the system call again and again."""
    os.kill(broker.pid, signal.SIGSTOP)
    ticks: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda *_: ticks.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with pytest.raises(BrokerUnavailableError):
            Client(broker.path, timeout=0.2).open([TCP])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # a signal that no thread has taken yet would end the process
        signal.signal(signal.SIGALRM, previous)
    assert ticks


def test_late_reply_is_never_taken_for_a_later_one() -> None:
    """The answer to a request that timed out comes later, before the next question. It goes with its connection."""
    late: list[Visit] = []

    def hold_first(visit: Visit) -> None:
        if visit.number == 1:
            late.append(visit)
            return
        late[0].grant()
        visit.grant()

    with fake_broker(hold_first) as broker:
        client = Client(broker.path, timeout=0.05)
        with pytest.raises(BrokerUnavailableError):
            client.open([TCP])
        client.timeout = 5
        before = descriptors(first=True)
        (sock,) = client.open([UDP])
        assert sock.type == socket.SOCK_DGRAM
        sock.close()
        client.close()
        assert descriptors() == before


def test_interrupted_call_does_not_spoil_the_next_one() -> None:
    """An exception out of a signal handler, while the reply is under way."""

    class StopError(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise StopError

    def signal_first(visit: Visit) -> None:
        if visit.number == 1:
            os.kill(os.getppid(), signal.SIGUSR1)
        else:
            visit.grant()

    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with fake_broker(signal_first) as broker, Client(broker.path) as client:
            with pytest.raises(StopError):
                client.open([TCP])
            (sock,) = client.open([UDP])
            assert sock.type == socket.SOCK_DGRAM
            sock.close()
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_signal_handler_may_ask_while_it_interrupts_a_question() -> None:
    """It gets a connection of its own, so each gets its own answer."""
    inner: list[socket.socket] = []
    signals: list[int] = []

    def send_signals() -> None:
        # More than one: Python handles a signal late that arrives right before the call that waits.
        while outer:
            os.kill(os.getppid(), signal.SIGUSR1)
            time.sleep(0.1)

    def ask(number: int, _: object) -> None:
        signals.append(number)
        if len(signals) == 1:
            inner.extend(client.open([UDP]))

    def ask_inside(visit: Visit) -> None:
        if visit.number == 1:
            outer.append(visit)
            threading.Thread(target=send_signals).start()
            return
        visit.grant()
        if outer:
            outer.pop().grant()

    outer: list[Visit] = []
    with fake_broker(ask_inside) as broker, Client(broker.path) as client:
        previous = signal.signal(signal.SIGUSR1, ask)
        try:
            (sock,) = client.open([TCP])
        finally:
            signal.signal(signal.SIGUSR1, previous)
        assert [sock.type, inner[0].type] == [socket.SOCK_STREAM, socket.SOCK_DGRAM]
        sock.close()
        inner[0].close()


def test_restarted_broker_is_found_again(broker: FakeBroker) -> None:
    """Between two calls, the idle connection died, and the caller does not notice."""
    with Client(broker.path) as client:
        open_and_close(client)
        broker.kill()
        broker.start()
        open_and_close(client)
    assert [line.split()[0] for line in broker.seen()] == ["1", "1"]


def test_restart_with_many_idle_connections_goes_unnoticed() -> None:
    """More of them than a call may lose: the first loss tells that the others are lost too."""
    idle = nsbroker.link.broker._MOST_LOSSES + 2
    held: list[Visit] = []

    def answer_together(visit: Visit) -> None:
        held.append(visit)
        if len(held) == idle:
            for one in held:
                one.grant()

    with fake_broker(answer_together) as broker, Client(broker.path) as client:
        threads = [threading.Thread(target=open_and_close, args=(client,)) for _ in range(idle)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [line.split()[0] for line in broker.seen()] == ["1"] * idle
        broker.kill()
        broker.script = honest
        broker.start()
        open_and_close(client)


def test_request_is_asked_again_when_its_broker_died(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL ends the broker before the answer. The listener stays, as under socket activation."""
    broker.kill()
    broker.script = die
    broker.start()

    async def restart(attempts: int, deadline: float) -> None:
        broker.kill()
        broker.script = honest
        broker.start()

    monkeypatch.setattr(nsbroker.link.broker, "_pause", restart)
    before = descriptors(first=True)
    with Client(broker.path) as client:
        open_and_close(client)
    assert broker.seen() == ["1 1 0", "1 1 0"]
    assert descriptors() == before


def test_port_is_free_again_when_the_broker_died_between_descriptors_and_reply(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The descriptors were on the channel already. The client closes it before it asks the next broker."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        listener = TCP._replace(bind=sock.getsockname(), listen=5)

    def die_in_between(visit: Visit) -> None:
        if visit.number == 2:
            sockets, _ = visit.make()
            visit.deliver(fds_of(sockets))
            die(visit)
        visit.grant()

    async def restart(attempts: int, deadline: float) -> None:
        broker.kill()
        broker.script = honest
        broker.start()

    broker.kill()
    broker.script = die_in_between
    broker.start()
    monkeypatch.setattr(nsbroker.link.broker, "_pause", restart)
    before = descriptors(first=True)
    with Client(broker.path) as client:
        open_and_close(client)
        (sock,) = client.open([listener])
        assert sock.getsockname() == listener.bind
        sock.close()
    assert [line.split()[0] for line in broker.seen()] == ["1", "2", "1"]
    assert descriptors() == before


def test_answered_part_of_a_batch_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker dies after the first of three packets: one answer for each socket, from one broker or the other."""

    def die_at_second(visit: Visit) -> None:
        if visit.number == 2:
            die(visit)
        visit.grant()

    with fake_broker(die_at_second) as broker:

        async def restart(attempts: int, deadline: float) -> None:
            broker.kill()
            broker.script = honest
            broker.start()

        monkeypatch.setattr(nsbroker.link.broker, "_pause", restart)
        with Client(broker.path) as client:
            sockets = client.open([TCP] * 253 + [UDP] * 253 + [TCP] * 10)
        assert [sock.type for sock in sockets] == [TCP.type] * 253 + [UDP.type] * 253 + [TCP.type] * 10
        for sock in sockets:
            sock.close()
        # The first answer may have been lost with the connection, or have arrived: both are right.
        assert sum(int(line.split()[1]) for line in broker.seen()) in (253 + 253 + 263, 2 * 253 + 253 + 263)


def test_load_goes_on_while_its_broker_is_killed_again_and_again(broker: FakeBroker) -> None:
    """Four threads, a broker that dies at every 30th request, before or after its answer: each gets its own sockets."""

    def die_now_and_then(visit: Visit) -> None:
        if visit.number == 30 and visit.request.request_id % 2:
            die(visit)
        visit.grant()
        if visit.number >= 30:
            die(visit)

    broker.kill()
    broker.script = die_now_and_then
    broker.start()
    done = threading.Event()
    wrong: list[object] = []
    restarts: list[int] = []

    def supervise() -> None:
        while not done.is_set():
            if os.waitpid(broker.pid, os.WNOHANG)[0]:
                broker.pid = 0
                broker.start()
                restarts.append(broker.pid)
            done.wait(0.001)

    def work(kind: int, client: Client) -> None:
        for _ in range(100):
            try:
                sockets = client.open([SocketSpec("blue", socket.AF_INET, kind)] * 3)
            except OSError as error:
                wrong.append(error)
                return
            wrong.extend(sock for sock in sockets if sock.type != kind)
            for sock in sockets:
                sock.close()

    before = descriptors(first=True)
    with Client(broker.path, timeout=60) as client:
        kinds = [socket.SOCK_STREAM, socket.SOCK_DGRAM] * 2
        workers = [threading.Thread(target=work, args=(kind, client)) for kind in kinds]
        supervisor = threading.Thread(target=supervise)
        for thread in [supervisor, *workers]:
            thread.start()
        for thread in workers:
            thread.join()
        done.set()
        supervisor.join()
    assert wrong == []
    assert len(restarts) > 5
    assert descriptors() == before


def test_broker_that_dies_of_each_request_is_given_up() -> None:
    """It hangs up on everyone: a bounded number of attempts, and a message that says so."""
    with fake_broker(lambda visit: visit.connection.shutdown(socket.SHUT_RDWR)) as broker:
        before = descriptors(first=True)
        with pytest.raises(BrokerUnavailableError, match=r"again and again.*many requests with one Client") as caught:
            Client(broker.path).open([TCP])
        assert caught.value.errno == errno.ECONNRESET
        assert 2 <= len(broker.seen()) <= 10
        assert descriptors() == before


def test_restart_without_a_listener_is_waited_for(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is gone for a while, but the broker was there a moment ago."""
    with Client(broker.path) as client:
        open_and_close(client)
        broker.kill()
        broker.unlisten()
        pauses: list[int] = []

        async def come_back(attempts: int, deadline: float) -> None:
            pauses.append(attempts)
            if len(pauses) == 3:
                broker.listen()
                broker.start()

        monkeypatch.setattr(nsbroker.link.broker, "_pause", come_back)
        open_and_close(client)
        assert len(pauses) == 3


def test_broker_that_stays_away_is_waited_for_once(broker: FakeBroker) -> None:
    """The first call takes the whole timeout, because it could be a restart. The next calls fail at once."""
    client = Client(broker.path)
    open_and_close(client)
    broker.kill()
    broker.unlisten()
    client.timeout = 0.05
    with pytest.raises(BrokerUnavailableError):
        client.open([TCP])
    client.timeout = 0.001
    with pytest.raises(BrokerUnavailableError, match="start nsbrokerd") as caught:
        client.open([TCP])
    assert caught.value.errno == errno.ENOENT


def test_missing_broker_fails_at_once_and_says_what_to_do(tmp_path: object) -> None:
    with pytest.raises(BrokerUnavailableError, match="start nsbrokerd, or set NSBROKER_SOCKET") as caught:
        Client(f"{tmp_path}/none", timeout=3600).open([TCP])
    assert caught.value.errno == errno.ENOENT


def test_dead_socket_fails_at_once_and_says_what_to_do(broker: FakeBroker) -> None:
    broker.kill()
    assert broker.listener is not None
    broker.listener.close()
    with pytest.raises(BrokerUnavailableError, match="start nsbrokerd") as caught:
        Client(broker.path, timeout=3600).open([TCP])
    assert caught.value.errno == errno.ECONNREFUSED


def test_socket_of_another_kind_is_no_broker(tmp_path: object) -> None:
    path = f"{tmp_path}/stream"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(BrokerUnavailableError, match="no broker at") as caught:
            Client(path).open([TCP])
    assert caught.value.errno == errno.EPROTOTYPE


def test_path_too_long_for_a_socket_is_said(tmp_path: object) -> None:
    with pytest.raises(BrokerUnavailableError, match="too long"):
        Client(f"{tmp_path}/{'x' * 200}").open([TCP])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_no_permission_names_the_group(broker: FakeBroker) -> None:
    """The message says which group to join."""
    os.chmod(broker.path, 0o660)
    pid = fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(GROUP, GROUP, GROUP)
            os.setresuid(USER, USER, USER)
            Client(broker.path).open([TCP])
        except BrokerUnavailableError as error:
            status = 0 if error.errno == errno.EACCES and "must be in the group root" in str(error) else 2
        finally:
            os._exit(status)
    assert exit_status(pid) == 0


def test_full_backlog_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """EAGAIN from connect(2) means: not now."""
    broker = FakeBroker(backlog=0)
    waiting = []
    try:
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            waiting.append(sock)
            sock.settimeout(0)
            try:
                sock.connect(broker.path)
            except BlockingIOError:
                break
        pauses: list[float] = []

        def accept(seconds: float) -> None:
            if not pauses:
                broker.start()
            pauses.append(seconds)

        monkeypatch.setattr(nsbroker.drivers.thread, "sleep", accept)
        with Client(broker.path) as client:
            open_and_close(client)
        assert pauses
    finally:
        for sock in waiting:
            sock.close()
        broker.close()


def test_backlog_that_stays_full_ends_in_a_timeout() -> None:
    with closing(FakeBroker(backlog=0)) as broker, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as first:
        first.connect(broker.path)
        before = descriptors(first=True)
        with pytest.raises(BrokerUnavailableError, match="did not answer") as caught:
            Client(broker.path, timeout=0.02).open([TCP])
        assert caught.value.errno == errno.ETIMEDOUT
        assert descriptors() == before


def test_threads_each_get_their_own_sockets(broker: FakeBroker) -> None:
    """Eight threads with one client, each asking for a kind of its own."""
    wrong: list[object] = []
    with Client(broker.path) as client:

        def work(kind: int) -> None:
            for _ in range(50):
                (sock,) = client.open([SocketSpec("blue", socket.AF_INET, kind)])
                if sock.type != kind:
                    wrong.append(sock)
                sock.close()

        before = descriptors(first=True)
        kinds = [socket.SOCK_STREAM, socket.SOCK_DGRAM] * 4
        threads = [threading.Thread(target=work, args=(kind,)) for kind in kinds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len(broker.seen()) == 400
        assert descriptors() - before <= 2 * len(threads)  # a connection and its channel
        client.close()
        assert descriptors() == before


def test_forked_child_has_a_connection_of_its_own(broker: FakeBroker) -> None:
    """The parent's is closed in the child, and goes on in the parent."""
    with Client(broker.path) as client:
        before = descriptors(first=True)
        open_and_close(client)
        pid = fork()
        if pid == 0:
            status = 1
            try:
                closed = descriptors(first=True) == before
                open_and_close(client)
                status = 0 if closed else 2
            finally:
                os._exit(status)
        assert exit_status(pid) == 0
        open_and_close(client)
    assert [line.split()[0] for line in broker.seen()] == ["1", "1", "2"]


def test_child_forked_in_the_middle_of_a_call_keeps_nothing_of_it() -> None:
    """Another thread waits for the broker when the process forks: its connection is closed in the child as well."""
    asked = threading.Event()

    def hold_first(visit: Visit) -> None:
        held.append(visit)
        if visit.number == 1:
            os.kill(os.getppid(), signal.SIGUSR1)
        else:
            for one in held:
                one.grant()

    held: list[Visit] = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: asked.set())
    with fake_broker(hold_first) as broker, Client(broker.path) as client:
        before = descriptors(first=True)
        thread = threading.Thread(target=open_and_close, args=(client,))
        thread.start()
        asked.wait()
        signal.signal(signal.SIGUSR1, previous)
        pid = fork()
        if pid == 0:
            os._exit(0 if descriptors() == before else 2)
        assert exit_status(pid) == 0
        open_and_close(client)
        thread.join()


def test_client_that_is_forgotten_leaves_nothing_open(broker: FakeBroker) -> None:
    before = descriptors(first=True)
    open_and_close(Client(broker.path))
    assert descriptors() == before


def test_program_ends_without_a_word_about_unclosed_sockets(broker: FakeBroker) -> None:
    code = (
        "import nsbroker, socket\n"
        "nsbroker.Namespace('blue').socket().close()\n"
        "client = nsbroker.Client()\n"
        "client.open([nsbroker.SocketSpec('blue', 2, 1)])[0].close()\n"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "NSBROKER_SOCKET": broker.path}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code], env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_path_comes_from_the_environment(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSBROKER_SOCKET", broker.path)
    with Client() as client:
        open_and_close(client)
    monkeypatch.delenv("NSBROKER_SOCKET")
    assert Client().path == "/run/nsbroker/nsbroker.sock"


@pytest.mark.skipif(platform.machine() not in CONNECT_CALLS, reason="the number of connect(2) is not known here")
def test_client_waits_for_room_in_the_kernels_queue(tmp_path: Path) -> None:
    """There it has its turn, also if another user connects as fast as the broker accepts."""
    path = str(tmp_path / "full.sock")
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(path)
        listener.listen(0)
        stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)).connect(path)
        connected: list[Connection] = []
        connecting = connect_to_broker(path, time.monotonic() + 60)
        thread = threading.Thread(target=lambda: connected.append(nsbroker.drivers.thread.run(connecting)))
        thread.start()
        wait_until(lambda: _current_call(thread) == CONNECT_CALLS[platform.machine()])
        for _ in range(2):
            stack.enter_context(listener.accept()[0])
        thread.join()
        connected[0].close()


def _current_call(thread: threading.Thread) -> str:
    """Return the number of the system call in which a thread waits."""
    return Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()[0]
