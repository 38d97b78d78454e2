"""`nsbroker-get NS run`: which sockets a program gets, by which answer, and how it ends. As an unprivileged user."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nsbroker.supervise import kernel
from nsbroker.supervise.bpf import assemble, end_with
from nsbroker.supervise.calls import SEE_LIST
from nsbroker.supervise.filter import ALLOW
from support import namespaces
from support.brokers.process import BrokerProcess
from support.inside import call_inside, cookie_inside
from support.process_state import state
from support.tool.running import RunTool, python, run_tool
from support.users import GROUP, USER
from support.waiting import wait_until

COOKIE = "lambda s: int.from_bytes(s.getsockopt(1, 71, 8), 'little')"
CREATE = """
import json, os, socket, sys
def create(*args):
    try:
        with socket.socket(*args) as s:
            return s.family, s.type, s.proto, int.from_bytes(s.getsockopt(1, 71, 8), 'little')
    except OSError as error:
        return error.errno
print(json.dumps([create(*args) for args in json.loads(sys.argv[1])]))
"""
"""Makes sockets, and prints the type of each with its namespace's cookie, or an errno."""

INET, INET6, UNIX, NETLINK, PACKET, ALG = 2, 10, 1, 16, 17, 38
STREAM, DGRAM, RAW = 1, 2, 3


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("run")


@pytest.fixture
def run(broker: BrokerProcess, name: str) -> Iterator[RunTool]:
    with run_tool(broker) as tool:
        yield tool


def create(run: RunTool, name: str, *triples: tuple[int, ...]) -> tuple[list[list[int] | int], str]:
    done = run(name, "run", "--", python(), "-c", CREATE, json.dumps(triples))
    assert done.status == 0, done.err
    return json.loads(done.out), done.err


def test_network_sockets_are_born_in_the_namespace(run: RunTool, name: str) -> None:
    """Of each family, with the type and protocol that were asked for."""
    triples = [(INET, STREAM, 0), (INET6, DGRAM, 0), (INET, STREAM, 262), (NETLINK, RAW, 0), (PACKET, DGRAM, 0)]
    made, said = create(run, name, *triples)
    assert said == ""
    inside = cookie_inside(name)
    for triple, socket_made in zip(triples, made, strict=True):
        assert isinstance(socket_made, list), f"{triple}: {os.strerror(int(socket_made))}"
        assert tuple(socket_made[:2]) == triple[:2]
        assert socket_made[3] == inside


def test_short_form_is_the_same(run: RunTool, name: str) -> None:
    done = run(name, "--", python(), "-c", f"import socket; print(({COOKIE})(socket.socket()))")
    assert done == (0, f"{cookie_inside(name)}\n", "")


def test_namespace_may_be_a_path(run: RunTool, name: str) -> None:
    """It is opened once, at the start: later the path may lead elsewhere."""
    done = run(f"/run/netns/{name}", "run", "--", python(), "-c", f"import socket; print(({COOKIE})(socket.socket()))")
    assert done == (0, f"{cookie_inside(name)}\n", "")


def test_other_families_do_not_exist_and_local_ones_stay(run: RunTool, name: str) -> None:
    """AF_SMC (43), AF_RDS (21), AF_XDP (44), AF_TIPC (30), AF_BLUETOOTH (31) would leak, where the kernel has them."""
    made, said = create(run, name, *((family, DGRAM, 0) for family in (43, 21, 44, 30, 31, 29)))
    assert made == [errno.EAFNOSUPPORT] * 6
    made, _ = create(run, name, (UNIX, STREAM, 0), (UNIX, DGRAM, 0))
    assert all(isinstance(one, list) for one in made)
    assert said == ""


def test_protocols_that_do_not_exist_fail_as_without_a_broker(run: RunTool, name: str) -> None:
    made, said = create(run, name, (INET, 0x10 | STREAM, 0), (INET, STREAM, 2**30), (NETLINK, RAW, 9))
    assert made == [errno.EINVAL, errno.EINVAL, errno.EPROTONOSUPPORT]
    assert said == ""


FLAGS = """
import ctypes, fcntl, os
libc = ctypes.CDLL(None)
for flags in (0, 0o2000000, 0o4000, 0o2004000):
    fd = libc.socket(2, 1 | flags, 0)
    print(fcntl.fcntl(fd, fcntl.F_GETFD), bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK))
"""


def test_close_on_exec_and_non_blocking_are_as_asked(run: RunTool, name: str) -> None:
    assert run(name, "run", "--", python(), "-c", FLAGS).out == "0 False\n1 False\n0 True\n1 True\n"


SNIFF = """
import socket
sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
print(sniffer.getsockname()[:2])
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.sendto(b"to be seen", ("127.0.0.1", 9))
sniffer.settimeout(30)
while b"to be seen" not in sniffer.recv(2000): pass
print("seen")
"""


def test_packet_socket_with_a_protocol_hears_every_interface(run: RunTool, name: str) -> None:
    assert run(name, "run", "--", python(), "-c", SNIFF) == (0, "('', 3)\nseen\n", "")


def test_refusal_by_policy_is_permission_denied_and_one_line(
    start_broker: Callable[..., BrokerProcess], name: str
) -> None:
    """Once, however often the program tries."""
    broker = start_broker(
        f'[[grant]]\nname = "only tcp"\nusers = [{USER}]\nnamespaces = ["{name}"]\nsockets = ["tcp"]\n'
    )
    with run_tool(broker) as run:
        made, said = create(run, name, (INET, STREAM, 0), (INET, DGRAM, 0), (INET6, DGRAM, 0), (NETLINK, RAW, 0))
    assert isinstance(made[0], list)
    assert made[1:] == [errno.EACCES] * 3
    assert said.splitlines() == [
        f"nsbroker-get: grant 'only tcp' allows no {kind} sockets in namespace '{name}'{SEE_LIST}"
        for kind in ("udp", "netlink:route")
    ]


def test_exit_status_and_signals_are_the_programs_own(run: RunTool, name: str) -> None:
    assert run(name, "run", "--", "true") == (0, "", "")
    assert run(name, "run", "--", "sh", "-c", "exit 3") == (3, "", "")
    assert run(name, "run", "--", "sh", "-c", "kill -TERM $$") == (-signal.SIGTERM, "", "")


PROCESS = """
import json, os, signal
print(json.dumps({
    "pid": os.getpid(), "ids": os.getresuid() + os.getresgid(), "children": open(
        f"/proc/{os.getpid()}/task/{os.getpid()}/children").read(),
    "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1], "cwd": os.getcwd(),
    "ignored": open("/proc/self/status").read().partition("SigIgn:")[2].split()[0],
    "new privileges": open("/proc/self/status").read().partition("NoNewPrivs:")[2].split()[0],
}))
"""


def test_program_is_the_process_that_was_started(run: RunTool, name: str) -> None:
    """Same pid and ids, no child that it did not make, no descriptor of ours, no signal ignored but by its Python."""
    running = run.start(name, "run", "--", python(), "-c", PROCESS)
    done = running.finish()
    seen = json.loads(done.out)
    assert seen["pid"] == running.pid
    assert seen["ids"] == [USER] * 3 + [GROUP] * 3
    assert seen["children"] == ""
    assert seen["fds"] == [0, 1, 2]
    assert int(seen["ignored"], 16) == 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    assert seen["new privileges"] == "1"


@pytest.mark.parametrize(
    ("args", "status", "line"),
    [
        (["{name}", "run"], 125, "run needs a command to run, after -- (see nsbroker-get --help)"),
        (["{name}", "--"], 125, "run needs a command to run, after -- (see nsbroker-get --help)"),
        (["{name}", "run", "-x", "--", "true"], 125, "unknown option -x (see nsbroker-get --help)"),
        (["{name}", "run", "--", "/nope"], 127, "can't run /nope: No such file or directory"),
        (["{name}", "run", "--", "/etc/passwd"], 126, "can't run /etc/passwd: Permission denied"),
        (["--broker", "/nope", "{name}", "run", "--", "true"], 125, "no broker at /nope: start nsbrokerd, or set "
            "NSBROKER_SOCKET to the path of its socket"),
        (["{name}nope", "run", "--", "true"], 1, "there is no network namespace '{name}nope'"),
        (["foreign", "run", "--", "true"], 1, f"no grant of uid {USER} covers namespace 'foreign'"),
        (["/nope/ns", "run", "--", "true"], 1, "can't open the namespace /nope/ns: No such file or directory"),
    ],
)  # fmt: skip
def test_what_can_not_be_done_is_said_in_one_line_at_the_start(
    run: RunTool, name: str, args: list[str], status: int, line: str
) -> None:
    done = run(*(arg.format(name=name) for arg in args))
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith(f"nsbroker-get: {line.format(name=name)}")
    assert done.err.count("\n") == 1


def under_another_supervisor() -> None:
    machine = kernel.this_machine()
    assert machine is not None
    kernel.set_no_new_privs()
    kernel.install_filter(machine, assemble([end_with(ALLOW)]))


def test_run_inside_of_run_says_that_the_kernel_allows_one(run: RunTool, name: str) -> None:
    done = run.start(name, "run", "--", "true", before=under_another_supervisor).finish()
    assert (done.status, done.out) == (125, "")
    assert done.err == (
        "nsbroker-get: nsbroker-get run (or another seccomp supervisor) runs this program already, and the kernel "
        "allows only one: leave out the inner run\n"
    )


def test_namespace_that_went_away_is_network_down(run: RunTool, make_namespace: Callable[..., str]) -> None:
    """And one that comes back under its name is used from then on."""
    gone = make_namespace("gone")
    code = (
        "import socket\n"
        "for _ in range(3):\n"
        "  try: print(len(socket.socket().getsockname()), flush=True)\n"
        "  except OSError as error: print(error.errno, flush=True)\n"
        "  input()\n"
    )
    reader, writer = os.pipe()
    running = run.start(gone, "run", "--", python(), "-c", code, stdin=reader)
    os.close(reader)
    running.read_until("2\n")
    namespaces.delete(gone)
    os.write(writer, b"\n")
    running.read_until(f"2\n{errno.ENETDOWN}\n")
    namespaces.make(gone)
    os.write(writer, b"\n")
    running.read_until(f"2\n{errno.ENETDOWN}\n2\n")
    os.write(writer, b"\n")
    os.close(writer)
    done = running.finish()
    assert done.status == 0
    assert done.err == f"nsbroker-get: there is no network namespace '{gone}'\n"


def test_namespace_is_waited_for(run: RunTool, make_namespace: Callable[..., str]) -> None:
    name = f"{namespaces.PREFIX}later"
    running = run.start("--wait", "60", name, "run", "--", "echo", "there")
    assert make_namespace("later") == name
    assert running.finish() == (0, "there\n", "")


@pytest.mark.parametrize("uid", [USER, 0])
def test_setuid_programs_have_no_effect(run: RunTool, name: str, uid: int) -> None:
    """Also for root, whom the kernel does not ask for it."""
    done = run(name, "run", "--", "grep", "NoNewPrivs", "/proc/self/status", uid=uid)
    assert done == (0, "NoNewPrivs:\t1\n", "")


LOW = """
import socket
with socket.socket({family}, {kind}) as s:
    try: s.bind(({host!r}, 80))
    except PermissionError: print('denied')
    else: print(s.getsockname()[1])
"""
LOW_LINE = (
    "nsbroker-get: the program may not bind port 80, since the namespace leaves low ports to root: let the broker bind "
    "it, by nsbroker-get NS listen -l 80 -- CMD, or ask for a grant that has it in limit.bind\n"
)


@pytest.mark.parametrize(("family", "kind", "host"), [(INET, STREAM, ""), (INET6, STREAM, "::1"), (INET, DGRAM, "")])
def test_low_port_is_for_listen(run: RunTool, name: str, family: int, kind: int, host: str) -> None:
    """The broker binds low ports. A program under `run` binds by itself, with the rights of every user there.

    Programs say only "Permission denied", so a line names the port. If the namespace allows it, there is no line.
    """
    code = LOW.format(family=family, kind=kind, host=host)
    assert run(name, "run", "--", python(), "-c", code) == (0, "denied\n", LOW_LINE)
    call_inside(name, Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text, "80")
    assert run(name, "run", "--", python(), "-c", code) == (0, "80\n", "")


def test_bind_that_fails_for_another_reason_has_no_line(run: RunTool, name: str) -> None:
    """An address that is not there, a high port, a port that is used, and a socket of the caller's own namespace."""
    call_inside(name, Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text, "80")
    code = (
        "import socket\n"
        "for address in (('192.0.2.1', 80), ('192.0.2.1', 8080), ('127.0.0.1', 81), ('127.0.0.1', 81)):\n"
        "    s = socket.socket()\n"
        "    try: s.bind(address)\n"
        "    except OSError as error: print(error.errno)\n"
        "    else: kept = s; s.listen(); print('bound')\n"
    )
    numbers = f"{errno.EADDRNOTAVAIL}\n{errno.EADDRNOTAVAIL}\nbound\n{errno.EADDRINUSE}\n"
    assert run(name, "run", "--", python(), "-c", code) == (0, numbers, "")


def test_inherited_socket_of_another_namespace_has_no_line(run: RunTool, name: str) -> None:
    """The advice would be wrong for it: it is in the caller's own namespace."""
    with socket.socket() as own:
        code = (
            "import socket\ns = socket.socket(fileno=0)\ntry: s.bind(('', 80))\nexcept PermissionError: print('denied')"
        )
        done = run.start(name, "run", "--", python(), "-c", code, stdin=own.fileno()).finish()
    assert done == (0, "denied\n", "")


ONLY_IP = f'[[grant]]\nname = "ip"\nusers = [{USER}]\nnamespaces = ["*"]\nsockets = ["tcp", "udp"]\n'


def test_netlink_that_does_not_matter_has_no_line(start_broker: Callable[..., BrokerProcess], name: str) -> None:
    """The C library asks for routes before it looks up a name, and goes on without an answer."""
    code = (
        "import socket\n"
        "try: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n"
        "except PermissionError: print('denied')\n"
        "socket.socket()\n"
    )
    with run_tool(start_broker(ONLY_IP)) as run:
        assert run(name, "run", "--", python(), "-c", code) == (0, "denied\n", "")


def test_web_server_on_a_low_port_gets_one_line(start_broker: Callable[..., BrokerProcess], name: str) -> None:
    """About the port. Python's server asks for routes first, and says only "Permission denied"."""
    with run_tool(start_broker(ONLY_IP)) as run:
        done = run(name, "run", "--", python(), "-m", "http.server", "80")
    lines = [line for line in done.err.splitlines(keepends=True) if line.startswith("nsbroker-get: ")]
    assert (done.status, lines) == (1, [LOW_LINE])
    assert "PermissionError" in done.err


def test_netlink_that_a_program_needs_has_its_line(start_broker: Callable[..., BrokerProcess], name: str) -> None:
    """When the program ends, and a second later if it goes on."""
    line = f"nsbroker-get: grant 'ip' allows no netlink:route sockets in namespace '{name}'{SEE_LIST}\n"
    with run_tool(start_broker(ONLY_IP)) as run:
        for then in ("", "input()\n"):
            code = f"import socket\ntry: socket.socket(16, 3, 0)\nexcept PermissionError: pass\n{then}"
            reader, writer = os.pipe()
            running = run.start(name, "run", "--", python(), "-c", code, stdin=reader)
            if then:
                assert running.read_error_until("\n") == line
            os.write(writer, b"\n")
            os.close(writer)
            os.close(reader)
            assert running.finish() == (0, "", line)


@pytest.mark.parametrize("kind", ["udp", "icmp", "netlink:route", "packet"])
def test_any_kind_of_grant_is_enough_to_wait_for_a_namespace(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str], kind: str
) -> None:
    """Before the namespace exists, the kinds of later requests are unknown. The same holds for a path."""
    name = f"{namespaces.PREFIX}late"
    grant = f'[[grant]]\nname = "one kind"\nusers = [{USER}]\nnamespaces = ["{name}"]\nsockets = ["{kind}"]\n'
    with run_tool(start_broker(grant)) as run:
        running = run.start("--wait", "60", name, "run", "--", "echo", "there")
        wait_until(lambda: state(running.pid) in "SZ")
        assert make_namespace("late") == name
        assert running.finish() == (0, "there\n", "")
        assert run(f"/run/netns/{name}", "run", "--", "echo", "there") == (0, "there\n", "")
