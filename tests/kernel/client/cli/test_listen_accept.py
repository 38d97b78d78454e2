"""`nsbroker-get NS listen --accept`, as an unprivileged user: one command for each connection, and how it ends."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

import nsbroker
from support.brokers.process import BrokerProcess
from support.inside import call_inside
from support.process_state import state
from support.tool.running import Done, Running, RunTool, children, program, run_tool
from support.users import as_unprivileged
from support.waiting import LIMIT_S, wait_until

WEB, MAIL = 80, 25
GREET = ["--", "sh", "-c", "echo $LISTEN_FDNAMES >&3; exec cat <&3 >&3"]
"""Sends the name of the listener that was reached, then echoes its input."""
GREET_AS_INETD = ["--inetd", "--", "sh", "-c", "echo hello; exec cat"]
NO_MORE_FILES = 3
"""A limit that lets no file be opened. poll(2) needs at least the number of its own descriptors."""
PORTS = [f"-l127.0.0.1:{WEB}", f"-l127.0.0.1:{MAIL}", "--fdname=web", "--fdname=mail"]


class Guest:
    """A connection. `greeting` waits for the first line of its command."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(LIMIT_S)
        self.sock = sock
        self._reader = sock.makefile("rb")

    def greeting(self) -> bytes:
        return self._reader.readline().rstrip()

    def leave(self) -> bytes:
        """End the sending side, and return the rest of the answer."""
        self.sock.sendall(b"bye")
        self.sock.shutdown(socket.SHUT_WR)
        return self.rest()

    def rest(self) -> bytes:
        with self.sock, self._reader:
            return self._reader.read()


class Site:
    """A namespace with its own nsbroker-get, and clients there."""

    def __init__(self, run: RunTool, broker: BrokerProcess, name: str) -> None:
        self._run, self._name = run, name
        self._blue = nsbroker.Namespace(name, path=str(broker.socket_path))

    def serve(self, *args: str, before: Callable[[], object] = lambda: None) -> Running:
        """Start `listen --accept`, and wait for its listener without a connection, which would start a command."""
        server = self._run.start(self._name, "listen", "--accept", *args, before=before)
        wait_until(lambda: state(server.pid) == "Z" or not self.is_closed())
        return server

    def run_once(self, *args: str) -> Done:
        return self._run(self._name, "listen", *args)

    def guest(self, port: int = WEB) -> Guest:
        """Connect. The connection need not be accepted yet."""
        return Guest(self._blue.create_connection(("127.0.0.1", port)))

    def is_closed(self) -> bool:
        return bool(call_inside(self._name, _listening_ports) == set())


def _listening_ports() -> set[str]:
    with open("/proc/thread-self/net/tcp") as table:
        lines = [line.split() for line in table.read().splitlines()[1:]]
    return {local for _, local, _, its_state, *_ in lines if its_state == "0A"}


@pytest.fixture
def site(shared_broker: BrokerProcess, make_namespace: Callable[..., str]) -> Iterator[Site]:
    name = make_namespace("accept")
    with run_tool(shared_broker) as run:
        yield Site(run, shared_broker, name)


def idle_children(server: Running) -> set[int]:
    """Return the running commands, once the tool is idle."""
    wait_until(lambda: state(server.pid) == "S")
    return children(server.pid)


def end(server: Running, number: int = signal.SIGTERM, status: int = 0) -> None:
    server.send(number)
    assert server.finish() == (status, "", "")


def test_each_connection_has_its_command_in_parallel(site: Site) -> None:
    """No command waits for another one, and none leaves a zombie."""
    server = site.serve(*PORTS, *GREET)
    guests = [site.guest(port) for port in (WEB, MAIL) * 10]
    assert [guest.greeting() for guest in guests] == [b"web", b"mail"] * 10
    assert len(idle_children(server)) == 20
    for guest in reversed(guests):
        assert guest.leave() == b"bye"
    wait_until(lambda: children(server.pid) == set())
    end(server)


def test_command_is_told_who_connects(site: Site) -> None:
    """The command is started as systemd would. Its descriptor is the connection of the namespace, and blocks."""
    code = "env | grep -e LISTEN -e REMOTE | sort; echo pid=$$; exec cat /proc/$$/fdinfo/3"
    server = site.serve(f"-l{WEB}", "--", "sh", "-c", f"exec >&3; {code}")
    guest = site.guest()
    _, port = guest.sock.getsockname()
    *variables, pid, _, flags = guest.rest().decode().split("\n")[:8]
    number = pid.removeprefix("pid=")
    assert variables == [
        "LISTEN_FDNAMES=connection", "LISTEN_FDS=1", f"LISTEN_PID={number}", "REMOTE_ADDR=127.0.0.1",
        f"REMOTE_PORT={port}",
    ]  # fmt: skip
    assert int(flags.removeprefix("flags:"), 8) & os.O_NONBLOCK == 0
    end(server)


def test_inetd_gives_the_connection_as_standard_input_and_output(site: Site) -> None:
    """Standard error stays the caller's, and no other descriptor is open."""
    server = site.serve(
        f"-l{WEB}", "--inetd", "--", "sh", "-c", "echo $LISTEN_FDS $REMOTE_ADDR; ls /proc/$$/fd; echo x >&2"
    )
    assert site.guest().rest().split() == [b"127.0.0.1", b"0", b"1", b"2"]
    server.send(signal.SIGTERM)
    assert server.finish() == (0, "", "x\n")


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_commands_run_than_allowed(site: Site, most: int) -> None:
    """The others wait in the listener's queue, and each has its turn as soon as one ends."""
    server = site.serve(f"-l127.0.0.1:{WEB}", "--max", str(most), *GREET_AS_INETD)
    waiting = [site.guest() for _ in range(10)]
    served: list[Guest] = []
    for guest in waiting:
        if len(served) == most:
            assert served.pop(0).leave() == b"bye"
        assert guest.greeting() == b"hello"
        served.append(guest)
        if len(served) == most:
            assert len(idle_children(server)) == most
    for guest in served:
        guest.leave()
    end(server)


def test_short_commands_in_quick_succession_are_all_run(site: Site, long: bool) -> None:
    """No connection is lost if connections, ends of commands and a signal come at the same moment."""
    server = site.serve(*PORTS, "--max", "1", "--", "sh", "-c", "echo hello >&3")
    for _ in range(200 if long else 5):
        guests = [site.guest(port) for port in (WEB, MAIL) * 5]
        assert {guest.rest() for guest in guests} == {b"hello\n"}
    guests = [site.guest(port) for port in (WEB, MAIL) * 5]
    server.send(signal.SIGTERM)
    assert {guest.rest() for guest in guests} == {b"hello\n"}
    assert server.finish() == (0, "", "")


def test_command_that_ends_just_after_it_was_looked_for_is_noticed(site: Site) -> None:
    """Its end is at that moment, and not when something else happens to be told."""
    waitpid = os.waitpid

    def end_afterwards(pid: int, options: int) -> tuple[int, int]:
        found = waitpid(pid, options)
        if not found[0]:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            os.waitpid = waitpid
        return found

    def look_too_early() -> None:
        os.waitpid = end_afterwards

    server = site.serve(f"-l{WEB}", *GREET_AS_INETD, before=look_too_early)
    first = site.guest()
    assert first.greeting() == b"hello"
    (command,) = children(server.pid)
    second = site.guest()
    first.leave()
    assert second.greeting() == b"hello"
    wait_until(lambda: command not in children(server.pid))
    second.leave()
    end(server)


def test_listeners_take_turns(site: Site) -> None:
    """With room for one command, a busy listener does not starve the other."""
    server = site.serve(*PORTS, "--max", "1", *GREET)
    first = site.guest()
    assert first.greeting() == b"web"
    waiting = {port: [site.guest(port) for _ in range(3)] for port in (WEB, MAIL)}
    first.leave()
    for port, said in [(MAIL, b"mail"), (WEB, b"web")] * 3:
        guest = waiting[port].pop(0)
        assert guest.greeting() == said
        guest.leave()
    end(server)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_end_loses_no_connection(site: Site, number: int, status: int) -> None:
    """New clients do not get in, and all connected clients are served, even those that had to wait."""
    server = site.serve(f"-l127.0.0.1:{WEB}", "--max", "2", *GREET_AS_INETD)
    guests = [site.guest() for _ in range(6)]
    assert [guest.greeting() for guest in guests[:2]] == [b"hello"] * 2
    server.send(number)
    wait_until(site.is_closed)
    with pytest.raises(ConnectionRefusedError):
        site.guest()
    assert len(idle_children(server)) == 2
    for guest in guests[:2]:
        assert guest.leave() == b"bye"
    for guest in guests[2:]:
        assert guest.greeting() == b"hello"
        assert guest.leave() == b"bye"
    assert server.finish() == (status, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_the_commands_too(site: Site, number: int) -> None:
    """Those that wait for one are sent away."""
    server = site.serve(f"-l127.0.0.1:{WEB}", "--max", "1", *GREET_AS_INETD)
    served, waiting = site.guest(), site.guest()
    assert served.greeting() == b"hello"
    server.send(signal.SIGTERM)
    wait_until(site.is_closed)
    end(server, number)
    assert (served.rest(), waiting.rest()) == (b"", b"")


def test_signal_without_connections_ends_it(site: Site) -> None:
    end(site.serve(f"-l{WEB}", *GREET))


def test_command_has_its_signals_as_they_were(site: Site) -> None:
    """The command has the blocked and ignored signals of the caller. The tool ignores SIGINT if the caller does."""

    def ignore() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    server = site.serve(f"-l{WEB}", "--inetd", "--", program("grep"), "^Sig[BI]", "/proc/self/status", before=ignore)
    server.send(signal.SIGINT)
    masks = dict(line.split(b":\t") for line in site.guest().rest().splitlines())
    expected = {b"SigBlk": 1 << (signal.SIGCHLD - 1), b"SigIgn": 1 << (signal.SIGINT - 1)}
    assert {key: int(mask, 16) for key, mask in masks.items()} == expected
    wait_until(lambda: children(server.pid) == set())
    end(server)


@pytest.mark.parametrize(
    ("limit", "at_most", "says"),
    [
        (resource.RLIMIT_NPROC, 1, "can't start a process for a connection: Resource temporarily unavailable"),
        (resource.RLIMIT_NOFILE, NO_MORE_FILES, "can't accept a connection: Too many open files"),
    ],
)
def test_connection_waits_while_the_system_has_no_room(site: Site, limit: int, at_most: int, says: str) -> None:
    """The connection is served as soon as there is room. Meanwhile, one line names the missing resource."""
    server = site.serve(f"-l{WEB}", *GREET_AS_INETD)
    before = as_unprivileged(resource.prlimit, server.pid, limit)
    as_unprivileged(resource.prlimit, server.pid, limit, (at_most, before[1]))
    guest = site.guest()
    server.read_error_until("\n")
    as_unprivileged(resource.prlimit, server.pid, limit, before)
    assert guest.greeting() == b"hello"
    assert guest.leave() == b"bye"
    server.send(signal.SIGTERM)
    done = server.finish()
    lines = set(done.err.splitlines())
    assert lines == {f"nsbroker-get: {says}; trying again (is a limit reached: ulimit -u, ulimit -n?)"}


def test_nobody_to_complain_to_is_no_reason_to_end(site: Site) -> None:
    """Its program file and its log can be gone."""

    def close_errors() -> None:
        reader, writer = os.pipe()
        os.dup2(writer, 2)
        os.close(writer)
        os.close(reader)

    server = site.serve(f"-l{WEB}", *GREET_AS_INETD, before=close_errors)
    before = as_unprivileged(resource.prlimit, server.pid, resource.RLIMIT_NOFILE)
    as_unprivileged(resource.prlimit, server.pid, resource.RLIMIT_NOFILE, (NO_MORE_FILES, before[1]))
    guest = site.guest()
    assert idle_children(server) == set()
    as_unprivileged(resource.prlimit, server.pid, resource.RLIMIT_NOFILE, before)
    assert guest.greeting() == b"hello"
    guest.leave()
    end(server)


def test_command_that_is_not_there_is_said_before_anything_is_opened(site: Site, broker: BrokerProcess) -> None:
    before = broker.audit()
    for command, status in (("no-such-command", 127), ("/nowhere/x", 127), ("/etc/passwd", 126), ("/etc", 126)):
        done = site.run_once("--accept", "-l80", "--", command)
        assert (done.status, done.out) == (status, "")
        assert done.err.startswith(f"nsbroker-get: can't run {command}: ")
        assert done.err.count("\n") == 1
    assert broker.audit() == before


def test_connections_leave_nothing_open(site: Site) -> None:
    """A command has no descriptor of another connection, and no connection to the broker."""
    server = site.serve(f"-l{WEB}", *GREET_AS_INETD)
    site.guest().leave()
    wait_until(lambda: children(server.pid) == set())
    idle_children(server)
    files = len(os.listdir(f"/proc/{server.pid}/fd"))
    for _ in range(20):
        site.guest().leave()
    wait_until(lambda: children(server.pid) == set())
    assert len(os.listdir(f"/proc/{server.pid}/fd")) == files == 3 + 1 + 2
    end(server)
