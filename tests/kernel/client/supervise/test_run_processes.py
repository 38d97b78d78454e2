"""`nsbroker-get NS run`: processes, threads, signals and jobs, and supervisors that live as long as needed."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nsbroker.supervise import kernel
from nsbroker.supervise.calls import UNSEEN
from support.brokers.process import BrokerProcess
from support.inside import cookie_here, cookie_inside
from support.job_control import Shell
from support.own_run import own_run
from support.process_state import is_libffi
from support.tool.running import RunTool, children, python, run_tool
from support.users import GROUP, USER
from support.waiting import wait_until

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
PR_SET_DUMPABLE = 4
NO_USER_NAMESPACES = 77
"""An exit status of the test's own."""

libc = ctypes.CDLL(None, use_errno=True)

COOKIE = "int.from_bytes(socket.socket().getsockopt(1, 71, 8), 'little')"
TRY = f"""
import errno, os, signal, socket, sys, threading, time
def cookie(): return {COOKIE}
"""


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("proc")


@pytest.fixture
def run(broker: BrokerProcess, name: str) -> Iterator[RunTool]:
    with run_tool(broker) as tool:
        yield tool


def script(code: str, *args: str) -> list[str]:
    return ["run", "--", python(), "-c", TRY + code, *args]


def test_all_threads_and_descendants_are_served(run: RunTool, name: str) -> None:
    code = """
results = set()
threads = [threading.Thread(target=lambda: results.update(cookie() for _ in range(20))) for _ in range(20)]
for t in threads: t.start()
for t in threads: t.join()
assert len(results) == 1, results
print(results.pop(), flush=True)
for depth in range(5):
    if pid := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(cookie())
"""
    inside = cookie_inside(name)
    assert run(name, *script(code)) == (0, f"{inside}\n{inside}\n", "")


def test_program_that_outlives_its_parent_is_served_until_the_last_is_gone(run: RunTool, name: str) -> None:
    """The command ends with its parent, so that a reader of standard error gets the end of file."""
    code = """
if os.fork(): print("parent ends", flush=True); os._exit(0)
os.setsid()
null = os.open("/dev/null", os.O_RDWR)
for fd in (1, 2): os.dup2(null, fd)
sys.stdin.read()
open(sys.argv[1], "w").write(str(cookie()))
"""
    reader, writer = os.pipe()
    result = f"/tmp/{name}-orphan"
    try:
        running = run.start(name, *script(code, result), stdin=reader)
        os.close(reader)
        assert running.finish() == (0, "parent ends\n", "")
        os.close(writer)
        wait_until(lambda: os.path.exists(result) and os.path.getsize(result) > 0)
        with open(result) as file:
            assert file.read() == str(cookie_inside(name))
    finally:
        os.unlink(result)


def test_full_descriptor_table_is_emfile(run: RunTool, name: str) -> None:
    """The error is the kernel's own. Once there is room again, there are sockets again."""
    code = """
socks = []
try:
    while True: socks.append(socket.socket())
except OSError as error: print(error.errno, len(socks) > 20)
socks.pop()
print(cookie())
"""
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))  # noqa: E731
    done = run.start(name, *script(code), before=limit).finish()
    assert done == (0, f"{errno.EMFILE} True\n{cookie_inside(name)}\n", "")


SIGNALS = """
hits = failed = made = 0
def hit(*_):
    global hits
    hits += 1
signal.signal(signal.SIGALRM, hit)
signal.siginterrupt(signal.SIGALRM, sys.argv[1] == "interrupts")
before = len(os.listdir("/proc/self/fd"))
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
while hits < 1000:
    try: socket.socket().close()
    except InterruptedError: failed += 1
    made += 1
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(os.listdir("/proc/self/fd")) - before, failed, made)
"""
"""A thousand signals, most of them while a call is pending."""


def test_signals_are_not_noticed_by_socket_calls(run: RunTool, name: str) -> None:
    """With handlers that let calls go on (SA_RESTART), as signal(3) and Go set them."""
    done = run(name, *script(SIGNALS, "restarts"))
    lost, failed, _ = map(int, done.out.split())
    assert (lost, failed, done.err) == (0, 0, "")


def test_signals_that_interrupt_calls_neither_lose_nor_double_sockets(run: RunTool, name: str) -> None:
    """EINTR, which the kernel has for a call that was not taken yet, is all that can happen."""
    done = run(name, *script(SIGNALS, "interrupts"))
    lost, failed, made = map(int, done.out.split())
    assert (lost, done.err) == (0, "")
    assert failed < made / 2


CLOSE = """
STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
def reaches_a_closed_listener():
    other, sock = socket.socket(), socket.socket()
    sock.bind(("127.0.0.1", 0)); sock.listen(); address = sock.getsockname()
    sock.close()
    with other: return other.connect_ex(address) != errno.ECONNREFUSED
def port_is_in_use(kind):
    other, sock = (socket.socket(socket.AF_INET, kind) for _ in range(2))
    sock.bind(("127.0.0.1", 0)); address = sock.getsockname()
    if kind == STREAM: sock.listen()
    sock.close()
    with other:
        try:
            other.bind(address)
            if kind == STREAM: other.listen()
        except OSError as error: return error.errno == errno.EADDRINUSE
    return False
count = int(sys.argv[1])
measures = (reaches_a_closed_listener, lambda: port_is_in_use(DGRAM), lambda: port_is_in_use(STREAM))
print(*(sum(measure() for _ in range(count)) for measure in measures))
"""


@pytest.mark.parametrize("busy", [0, 2], ids=["idle", "busy"])
def test_port_is_free_when_close_returns(run: RunTool, name: str, busy: int, long: bool) -> None:
    """Neither the supervisor nor the broker has a copy of the socket then, whatever else the processors do."""
    loops = [subprocess.Popen([python(), "-c", "while True: pass"]) for _ in range(busy)]
    try:
        assert run(name, *script(CLOSE, "1000" if long else "50")) == (0, "0 0 0\n", "")
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def test_signal_does_not_interrupt_a_call_that_was_taken(broker: BrokerProcess, run: RunTool, name: str) -> None:
    """Its socket would be lost, or made twice. The broker stands still meanwhile, so that the call is pending."""
    code = (
        "signal.signal(signal.SIGUSR1, lambda *_: None); print(cookie(), flush=True); sys.stdin.read(); print(cookie())"
    )
    reader, writer = os.pipe()
    running = run.start(name, *script(code), stdin=reader)
    os.close(reader)
    running.read_until("\n")
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        os.close(writer)
        wait_until(lambda: _is_in_socket_call(running.pid) and _has_unread_request(broker))
        running.send(signal.SIGUSR1)
        wait_until(lambda: _is_signal_pending(running.pid, signal.SIGUSR1) or not _is_in_socket_call(running.pid))
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    assert running.finish() == (0, f"{cookie_inside(name)}\n" * 2, "")


def _has_unread_request(broker: BrokerProcess) -> bool:
    command = ["ss", "--unix", "--all", "--no-header", "src", str(broker.socket_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return any(int(line.split()[2]) for line in lines)  # Recv-Q


def _is_signal_pending(pid: int, number: int) -> bool:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool((int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)) >> (number - 1) & 1)


def test_caller_killed_while_its_call_is_pending_harms_nobody(broker: BrokerProcess, run: RunTool, name: str) -> None:
    """The broker stands still meanwhile, so that the answer comes too late."""
    reader, writer = os.pipe()
    running = run.start(name, *script("print(cookie(), flush=True); sys.stdin.read(); cookie()"), stdin=reader)
    os.close(reader)
    running.read_until("\n")
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        os.close(writer)
        wait_until(lambda: _is_in_socket_call(running.pid))
        running.send(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    assert run(name, *script("print(cookie())")) == (0, f"{cookie_inside(name)}\n", "")


def _is_in_socket_call(pid: int) -> bool:
    with open(f"/proc/{pid}/syscall") as file:
        return file.read().split()[0] in ("41", "198")


def test_one_of_several_callers_that_is_killed_leaves_the_others_served(
    broker: BrokerProcess, run: RunTool, name: str
) -> None:
    code = """
cookie()
for _ in range(3):
    if not os.fork():
        sys.stdin.readline()
        os.write(1, b"%d\\n" % cookie())
        os._exit(0)
print("ready", flush=True)
for _ in range(3): os.wait()
"""
    reader, writer = os.pipe()
    running = run.start(name, *script(code), stdin=reader)
    os.close(reader)
    running.read_until("ready")
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        os.close(writer)
        workers = children(running.pid)
        wait_until(lambda: all(map(_is_in_socket_call, workers)))
        os.kill(workers.pop(), signal.SIGKILL)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    assert running.finish() == (0, "ready\n" + f"{cookie_inside(name)}\n" * 2, "")


def test_caller_that_was_killed_gets_no_line(broker: BrokerProcess, run: RunTool, name: str) -> None:
    """The supervisor can't see its descriptors any more, so each line about them would be wrong."""
    code = """
if not os.fork():
    sys.stdin.readline()
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
print("ready", flush=True)
os.wait()
cookie()
"""
    reader, writer = os.pipe()
    running = run.start(name, *script(code), stdin=reader)
    os.close(reader)
    running.read_until("ready")
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        os.close(writer)
        [child] = children(running.pid)
        wait_until(lambda: _is_in_socket_call(child))
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: not children(running.pid))
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    assert running.finish() == (0, "ready\n", "")


def test_standard_error_that_is_full_stops_no_call(run: RunTool, name: str) -> None:
    """The refused call fails without its line: the one who reads standard error may wait for the program to end."""

    def fill() -> None:
        os.set_blocking(2, False)
        with suppress(BlockingIOError):
            while True:
                os.write(2, bytes(65536))
        os.set_blocking(2, True)

    code = """
try: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
except OSError as error: print(error.errno, flush=True)
"""
    running = run.start(name, *script(code), before=fill)
    assert running.read_until("\n") == f"{errno.EACCES}\n"


def test_supervisor_that_can_not_start_its_threads_says_so(run: RunTool, name: str) -> None:
    """The program does not start. Else it would get no sockets, and no reason."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (3, 3))

    done = run.start(name, "run", "--", "true", before=limit).finish()
    assert (done.status, done.out) == (125, "")
    assert done.err == (
        "nsbroker-get: the supervisor ended before it was ready: can't start new thread (ulimit -a shows your limits)\n"
    )


def test_broker_restarted_in_the_middle_is_not_noticed(broker: BrokerProcess, run: RunTool, name: str) -> None:
    code = """
for line in sys.stdin: print(cookie(), flush=True)
"""
    reader, writer = os.pipe()
    running = run.start(name, *script(code), stdin=reader)
    os.close(reader)
    inside = f"{cookie_inside(name)}\n"
    os.write(writer, b"\n")
    running.read_until(inside)
    broker.kill()
    broker.start()
    os.write(writer, b"\n")
    running.read_until(inside * 2)
    broker.kill()
    os.write(writer, b"\n")
    wait_until(lambda: _is_in_socket_call(running.pid))
    broker.start()
    running.read_until(inside * 3)
    os.close(writer)
    assert running.finish() == (0, inside * 3, "")


def test_broker_with_too_much_to_do_is_waited_for(start_broker: Callable[..., BrokerProcess], name: str) -> None:
    """A program that makes more sockets a second than its user may is slowed down, and not refused."""
    broker = start_broker(settings="[quotas]\nrequests_per_second = 20")
    with run_tool(broker) as run:
        assert run(name, *script("for _ in range(40): cookie()\nprint('done')")) == (0, "done\n", "")


def test_broker_that_stays_away_is_network_down(broker: BrokerProcess, run: RunTool, name: str) -> None:
    code = """
cookie()
print("one", flush=True)
sys.stdin.readline()
try: cookie()
except OSError as error: print(error.errno)
"""
    reader, writer = os.pipe()
    running = run.start("--timeout", "0.3", name, *script(code), stdin=reader)
    os.close(reader)
    running.read_until("one")
    broker.kill()
    os.close(writer)
    done = running.finish()
    assert (done.status, done.out) == (0, f"one\n{errno.ENETDOWN}\n")
    assert done.err.startswith("nsbroker-get: ")
    assert done.err.count("\n") == 1


def test_supervisor_that_was_killed_means_no_sockets_and_never_the_callers_own(run: RunTool, name: str) -> None:
    code = """
print(os.getpid(), flush=True)
sys.stdin.readline()
try: cookie()
except OSError as error: print(error.errno)
"""
    reader, writer = os.pipe()
    before = children()
    running = run.start(name, *script(code), stdin=reader)
    os.close(reader)
    running.read_until("\n")
    [supervisor] = children() - before - {running.pid}
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    os.close(writer)
    assert running.finish() == (0, f"{running.pid}\n{errno.ENOSYS}\n", "")


def test_supervisor_keeps_nothing_that_others_miss(run: RunTool, name: str) -> None:
    """It has no terminal, no directory and only its own descriptors, and survives the signals that end programs."""
    before = children()
    reader, writer = os.pipe()
    code = "print(cookie(), flush=True); sys.stdin.read(); print(cookie())"
    # The caller of nsbroker-get has a file open.
    running = run.start(name, *script(code), stdin=reader, before=lambda: os.open("/", os.O_RDONLY))
    os.close(reader)
    inside = f"{cookie_inside(name)}\n"
    running.read_until(inside)
    [supervisor] = children() - before - {running.pid}
    assert os.getsid(supervisor) != os.getsid(running.pid)
    assert os.readlink(f"/proc/{supervisor}/cwd") == "/"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        os.kill(supervisor, number)
    others, sockets = supervisor_keeps(supervisor)
    assert others == SUPERVISORS_OWN
    assert set(sockets) <= {"UNIX", "UNIX-STREAM"}, "it has a copy of the program's socket"
    os.close(writer)
    assert running.finish() == (0, inside * 2, "")


SUPERVISORS_OWN = ["/dev/null", "/dev/null", "anon_inode", "anon_inode", "anon_inode", "pipe"]
"""Standard error, the listener, the program's pidfd, and an event for lines. It also has Unix sockets to the broker."""


def supervisor_keeps(pid: int) -> tuple[list[str], list[str]]:
    """The kinds of its descriptors, and the protocols of its sockets; without one that is closed meanwhile."""
    kinds, protocols = [], []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            path = f"/proc/{pid}/fd/{fd}"
            kind = os.readlink(path).partition(":")[0]
            if kind == "socket":
                protocols.append(os.getxattr(path, "system.sockprotoname").rstrip(b"\0").decode())
            elif not is_libffi(kind):
                kinds.append(kind)
    return sorted(kinds), protocols


def test_caller_that_moved_to_another_network_namespace_is_left_alone(run: RunTool, name: str) -> None:
    """A sandbox does this inside of `run`, with and without a later exec. Its parent stays."""
    code = f"""
import ctypes
own = cookie()
if not os.fork():
    if ctypes.CDLL(None).unshare(0x10000000 | 0x40000000): os._exit(9)
    print(cookie(), flush=True)
    os.execv(sys.executable, [sys.executable, "-c", "import socket; print({COOKIE})"])
os.wait()
print(own, cookie())
"""
    done = run(name, *script(code))
    if not done.out.partition("\n")[0].isdecimal():
        pytest.skip("user namespaces are not allowed here")
    moved, moved_later, *stayed = map(int, done.out.split())
    assert moved == moved_later
    assert moved not in (cookie_inside(name), cookie_here())
    assert stayed == [cookie_inside(name)] * 2
    assert done.err == ""


def pid_namespace_of_its_own(mounts_proc: bool) -> None:
    """Go on as the first process of a new pid namespace, as `unshare --map-current-user --pid --fork` does.

    Its /proc is still that of the outer pid namespace, unless it mounts one, as with --mount-proc.
    """
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) != 0:
        os._exit(NO_USER_NAMESPACES)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    if child := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    if mounts_proc:
        kernel.mount("none", "/", "none", kernel.MS_SLAVE | kernel.MS_REC)
        kernel.mount("proc", "/proc", "proc", 0)


@pytest.mark.parametrize("mounts_proc", [False, True])
def test_pid_namespace_needs_its_own_proc(
    run: RunTool, name: str, make_namespace: Callable[..., str], mounts_proc: bool
) -> None:
    """In another one's /proc, the number of a program's thread means a thread elsewhere, or none.

    The caller's network namespace is not that of the machine, so a thread elsewhere looks like one that has moved.
    """
    outside = make_namespace("own")
    before = lambda: pid_namespace_of_its_own(mounts_proc)  # noqa: E731
    done = run.start(name, *script("print(cookie())"), before=before, network=outside).finish()
    if done.status == NO_USER_NAMESPACES:
        pytest.skip("user namespaces are not allowed here")
    if mounts_proc:
        assert done == (0, f"{cookie_inside(name)}\n", "")
    else:
        line = "run needs the /proc of its own pid namespace, to find the programs there: mount it, for example by "
        assert done == (125, "", f"nsbroker-get: {line}unshare --mount-proc\n")


def proc_that_hides_processes() -> None:
    """Go on as the user, with a /proc that shows a process only to users who may trace it."""
    if libc.unshare(CLONE_NEWNS) != 0:
        os._exit(1)
    kernel.mount("none", "/", "none", kernel.MS_SLAVE | kernel.MS_REC)
    kernel.mount("proc", "/proc", "proc", 0, "hidepid=invisible")
    os.setgroups([])
    os.setresgid(GROUP, GROUP, GROUP)
    os.setresuid(USER, USER, USER)
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def test_caller_that_can_not_be_seen_counts_as_not_moved(
    run: RunTool, name: str, make_namespace: Callable[..., str]
) -> None:
    """Its sockets are those of the namespace, and it can't ask about interfaces.

    Without services to hide, it is in no user namespace, in which the supervisor could see it.
    """
    outside = make_namespace("own")
    code = (
        "import ctypes\n"
        "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"
        "print(cookie())\n"
        "try: socket.if_nametoindex('lo')\n"
        "except OSError: print('refused')\n"
    )
    with own_run():
        done = run.start(name, *script(code), uid=0, before=proc_that_hides_processes, network=outside).finish()
    assert (done.status, done.out) == (0, f"{cookie_inside(name)}\nrefused\n")
    assert done.err == f"nsbroker-get: {UNSEEN}\n"


def test_io_uring_is_absent(run: RunTool, name: str) -> None:
    code = "import ctypes; libc = ctypes.CDLL(None, use_errno=True); print(libc.syscall(425, 1, 0), ctypes.get_errno())"
    assert run(name, *script(code)).out == f"-1 {errno.ENOSYS}\n"


def test_process_that_can_not_be_traced_is_served(run: RunTool, name: str) -> None:
    """The supervisor does not need ptrace(2): only root can read /proc of a process that is not dumpable."""
    code = "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); print(cookie())"
    assert run(name, *script(code)) == (0, f"{cookie_inside(name)}\n", "")


def test_root_is_served_without_a_user_namespace(run: RunTool, name: str) -> None:
    code = "print(cookie(), os.readlink('/proc/self/ns/user'))"
    assert run.start(name, *script(code), uid=0).finish() == (
        0,
        f"{cookie_inside(name)} {os.readlink('/proc/self/ns/user')}\n",
        "",
    )


def test_terminal_signals_reach_the_program_and_the_shell_sees_it_stop(run: RunTool, name: str) -> None:
    """Ctrl-Z, then SIGCONT as `fg` sends it, then Ctrl-C, with a shell that waits for its job."""
    code = """
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGCONT, lambda *_: os.write(1, b"again %d." % cookie()))
os.write(1, b"ready %d." % cookie())
while True: signal.pause()
"""
    inside = cookie_inside(name)
    with Shell(run, name, *script(code)) as shell:
        shell.read_until(f"ready {inside}.")
        shell.type(b"\x1a")
        assert shell.job_state() == f"stopped by {int(signal.SIGTSTP)}"
        shell.read_until(f"again {inside}.")
        shell.type(b"\x03")
        assert shell.job_state() == f"ended with {-signal.SIGINT}"


def test_program_is_stopped_and_goes_on(run: RunTool, name: str) -> None:
    """SIGSTOP and SIGCONT come from outside. SIGTERM ends the program, by its own handler."""
    code = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(cookie() == int(sys.argv[1]) and 7))
print("ready", flush=True)
while True: signal.pause()
"""
    running = run.start(name, *script(code, str(cookie_inside(name))))
    running.read_until("ready")
    running.send(signal.SIGSTOP)
    _, status = os.waitpid(running.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    running.send(signal.SIGCONT)
    running.send(signal.SIGTERM)
    assert running.finish().status == 7
