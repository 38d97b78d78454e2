"""Every verb of nsbroker-get prints one line for a failure, with the remedy. As an unprivileged user."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from nsbroker.link.errors import CONFINED
from nsbroker.supervise import kernel
from nsbroker.supervise.bpf import assemble, end_with, if_equal, load
from nsbroker.supervise.filter import ALLOW, ERRNO, FIRST_ARGUMENT_OFFSET, NR_OFFSET
from support.brokers.process import BrokerProcess
from support.namespaces import PREFIX
from support.resident import CLONE_NEWNET, CLONE_NEWUSER, move_into_new
from support.seccomp import install
from support.tool.running import Done, RunTool, python, run_tool
from support.tool.verbs import VERBS
from support.users import USER
from support.waiting import LIMIT_S

COMMANDS = {
    "connect": ["{ns}", "connect", "127.0.0.1", "9"],
    "explain": ["{ns}", "explain", "tcp"],
    "listen": ["{ns}", "listen", "-l", "127.0.0.1:0", "--", "true"],
    "list": ["list", "{ns}"],
    "proxy": ["{ns}", "proxy", "-l", "127.0.0.1:0"],
    "resolve": ["{ns}", "resolve", "www.example.org"],
    "run": ["{ns}", "run", "--", "true"],
    "socket": ["{ns}", "socket", "--type", "udp", "--fd", "3", "--", "true"],
}
OF_GRANTS = [verb for verb in COMMANDS if verb != "list"]
"""`list` has a message of its own for an empty list."""

OF_SOCKETS = [verb for verb in OF_GRANTS if verb != "explain"]
"""For `explain`, a refusal is the answer."""

SHOWN_BY_LIST = "nsbroker-get list shows what you may use"
EXPLAINED = {"connect": "tcp", "listen": "tcp --bind 127.0.0.1:0", "proxy": "tcp", "run": "tcp", "socket": "udp"}
"""The first sockets of the commands above. `resolve` asks for files."""

SKIPPED = 77

ASK_ROOT = "ask the administrator for a grant: see nsbrokerd.toml(5)"


@pytest.fixture
def run(shared_broker: BrokerProcess) -> Iterator[RunTool]:
    with run_tool(shared_broker) as tool:
        yield tool


def line_of(done: Done, status: int) -> str:
    """The only line on standard error."""
    assert (done.status, done.out) == (status, ""), done
    assert done.err.startswith("nsbroker-get: ")
    assert done.err.count("\n") == 1
    return done.err.removeprefix("nsbroker-get: ").rstrip("\n")


def command(verb: str, namespace: str, timeout_s: float = LIMIT_S) -> list[str]:
    return ["--timeout", str(timeout_s), *(word.format(ns=namespace) for word in COMMANDS[verb])]


def shown_by(verb: str, namespace: str) -> str:
    """The advice after a refusal: to ask about the socket that was denied, if it is known."""
    kind = EXPLAINED.get(verb)
    return f"nsbroker-get {namespace} explain {kind} shows what each grant lacks" if kind else SHOWN_BY_LIST


def test_every_verb_is_here() -> None:
    assert COMMANDS.keys() == VERBS.keys()


def test_no_broker(broker: BrokerProcess) -> None:
    """The broker never ran, or it ended and left its socket behind."""
    path = broker.socket_path
    broker.stop()
    with run_tool(broker) as run:
        for verb in COMMANDS:
            assert line_of(run(*command(verb, "blue", 0.2)), 125) == (
                f"no broker at {path}: start nsbrokerd, or set NSBROKER_SOCKET to the path of its socket"
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left_behind:
            left_behind.bind(str(path))
        path.chmod(0o666)
        for verb in COMMANDS:
            assert line_of(run(*command(verb, "blue", 0.2)), 125) == f"no broker answers at {path}: start nsbrokerd"


def test_no_permission_on_the_socket(broker: BrokerProcess) -> None:
    refusal = f"no permission to use the broker at {broker.socket_path}: "
    os.chown(broker.socket_path, 0, 0)
    with run_tool(broker) as run:
        for verb in COMMANDS:
            assert line_of(run(*command(verb, "blue", 0.2)), 125) == (
                f"{refusal}this user must be in the group root (and log in again after being added)"
            )
        broker.directory.chmod(0o700)
        for verb in COMMANDS:
            assert line_of(run(*command(verb, "blue", 0.2)), 125) == f"{refusal}its directory is closed to this user"


@pytest.mark.parametrize("verb", OF_SOCKETS)
def test_no_grant(run: RunTool, verb: str) -> None:
    reason = "allows IP sockets in this namespace" if verb == "resolve" else "covers namespace 'foreign'"
    line = f"no grant of uid {USER} {reason}; {shown_by(verb, 'foreign')}"
    assert line_of(run(*command(verb, "foreign")), 1) == line


def test_no_grant_at_all(start_broker: Callable[..., BrokerProcess]) -> None:
    with run_tool(start_broker("")) as run:
        assert line_of(run("list"), 1) == f"no grant gives this user any socket: {ASK_ROOT}"
        for verb in set(OF_SOCKETS) - {"resolve"}:
            line = f"no grant covers uid {USER} or its groups; {shown_by(verb, 'blue')}"
            assert line_of(run(*command(verb, "blue")), 1) == line


@pytest.mark.parametrize("verb", OF_SOCKETS)
def test_no_such_namespace(run: RunTool, make_namespace: Callable[..., str], verb: str) -> None:
    missing = make_namespace("here") + "-not"
    assert line_of(run(*command(verb, missing)), 1) == (
        f"there is no network namespace '{missing}'; nsbroker-get list shows which there are, and --wait SECONDS waits "
        "for one"
    )


def test_list_of_a_namespace_that_is_not_granted(run: RunTool) -> None:
    for name in ("foreign", "@own"):
        line = f"no grant gives this user sockets in {name}: {ASK_ROOT}. nsbroker-get list shows your grants"
        assert line_of(run("list", name), 1) == line


def test_list_of_a_namespace_that_does_not_exist_yet(run: RunTool, make_namespace: Callable[..., str]) -> None:
    missing = make_namespace("here") + "-not"
    done = run("list", missing)
    assert (done.status, missing in done.out) == (0, True)
    assert done.err == f"nsbroker-get: {missing} does not exist now: nsbroker-get --wait SECONDS waits for it\n"


def test_list_where_no_granted_namespace_exists(start_broker: Callable[..., BrokerProcess]) -> None:
    grant = f'[[grant]]\nname = "later"\nusers = ["*"]\nnamespaces = ["{PREFIX}later-*"]\nsockets = ["tcp"]\n'
    with run_tool(start_broker(grant)) as run:
        assert line_of(run("list"), 1) == (
            "your grants ('later') cover no namespace that exists now: nsbroker-get list NS shows what you may do in "
            "NS, also before it exists"
        )


OWN = f"""[[grant]]
name = "own"
users = [{USER}]
namespaces = ["@own"]
sockets = ["tcp"]
"""


def test_list_where_only_own_namespaces_are_granted(start_broker: Callable[..., BrokerProcess]) -> None:
    """The table has a row for all of them, and the line says how to name one. `list PATH` is true for each."""
    with run_tool(start_broker(OWN)) as run:
        for words in (["list"], ["list", "@own"]):
            done = run(*words)
            assert (done.status, done.out) == (0, "NAMESPACE  SOCKETS  GRANT\n@own       tcp      own\n")
            assert done.err == (
                "nsbroker-get: @own stands for your own namespaces: give one by its path, such as /proc/PID/ns/net\n"
            )
        path = "/proc/self/ns/net"
        line = f"no grant gives this user sockets in {path}: {ASK_ROOT}. nsbroker-get list shows your grants"
        assert line_of(run("list", path), 1) == line


def test_list_of_an_own_namespace_by_its_path(start_broker: Callable[..., BrokerProcess]) -> None:
    with run_tool(start_broker(OWN)) as run:
        done = run.start("list", "/proc/self/ns/net", before=move_into_own).finish()
        if done.status == SKIPPED:
            pytest.skip("users can't have namespaces of their own here")
        assert done == (0, "NAMESPACE          SOCKETS  GRANT\n/proc/self/ns/net  tcp      own\n", "")


def move_into_own() -> None:
    try:
        move_into_new(CLONE_NEWUSER | CLONE_NEWNET)
    except OSError:
        os._exit(SKIPPED)


def test_verb_before_the_namespace(run: RunTool) -> None:
    assert line_of(run("run", "blue", "--", "true"), 125) == (
        "the namespace comes before the verb: nsbroker-get blue run -- true (see nsbroker-get --help)"
    )


@pytest.mark.parametrize("verb", OF_GRANTS)
def test_path_that_is_not_there_or_not_the_users(run: RunTool, verb: str) -> None:
    """For a process of root's, /proc/PID/ns can't be read."""
    assert line_of(run(*command(verb, "/nope/ns")), 1) == "can't open the namespace /nope/ns: No such file or directory"
    path = f"/proc/{os.getpid()}/ns/net"
    assert line_of(run(*command(verb, path)), 1) == (
        f"can't open the namespace {path}: Permission denied; the process must be yours"
    )


@pytest.mark.parametrize("verb", OF_GRANTS)
def test_path_of_something_else_or_not_granted(run: RunTool, verb: str) -> None:
    """It is known before a program runs."""
    assert line_of(run(*command(verb, "/etc/passwd")), 1) == (
        "a descriptor that was sent is no network namespace: give the path of one, such as /proc/PID/ns/net"
    )


def without_wait_killable_recv() -> None:
    """As Linux before 5.19: the flag is not known."""
    _refuse_listeners(22)


def without_seccomp() -> None:
    _refuse_listeners(38)


def _refuse_listeners(number: int) -> None:
    machine = kernel.this_machine()
    assert machine is not None
    second_argument = FIRST_ARGUMENT_OFFSET + 8
    flags = kernel._NEW_LISTENER | kernel._WAIT_KILLABLE_RECV
    install(
        assemble(
            [
                load(NR_OFFSET),
                if_equal(machine.seccomp, "seccomp"),
                end_with(ALLOW),
                "seccomp",
                load(second_argument),
                if_equal(flags, "no"),
                end_with(ALLOW),
                "no",
                end_with(ERRNO | number),
            ]
        )
    )


@pytest.mark.parametrize(
    ("before", "line"),
    [
        (
            without_wait_killable_recv,
            "this kernel is too old for run, which needs Linux 5.19 (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)",
        ),
        (without_seccomp, "this kernel has no seccomp, which run needs (CONFIG_SECCOMP_FILTER)"),
    ],
)
def test_run_needs_a_kernel_that_can_do_it(
    run: RunTool, make_namespace: Callable[..., str], before: Callable[[], None], line: str
) -> None:
    assert line_of(run.start(make_namespace("old"), "run", "--", "true", before=before).finish(), 125) == line


def refuse_hand_over() -> None:
    """As a security module that confines the program: the supervisor can't put a descriptor into its table."""
    machine = kernel.this_machine()
    assert machine is not None
    hand_over = [load(NR_OFFSET), if_equal(machine.ioctl, "ioctl"), end_with(ALLOW), "ioctl"]
    request = [load(FIRST_ARGUMENT_OFFSET + 8), if_equal(kernel._ADD_FD, "no"), end_with(ALLOW), "no"]
    install(assemble([*hand_over, *request, end_with(ERRNO | 13)]))


def test_program_that_may_not_have_the_socket_is_explained(run: RunTool, make_namespace: Callable[..., str]) -> None:
    code = "import socket\ntry: socket.socket(2, 2)\nexcept OSError as error: print(error.strerror)"
    words = (make_namespace("confined"), "run", "--", python(), "-c", code)
    done = run.start(*words, before=refuse_hand_over).finish()
    assert done == (0, "Permission denied\n", f"nsbroker-get: {CONFINED}\n")


def test_socket_that_is_not_granted_is_said_while_the_program_runs(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str]
) -> None:
    """The program gets EACCES, and the line has the reason."""
    name = make_namespace("tcp")
    grant = f'[[grant]]\nname = "only tcp"\nusers = [{USER}]\nnamespaces = ["{name}"]\nsockets = ["tcp"]\n'
    code = "import socket\ntry: socket.socket(2, 2)\nexcept OSError as error: print(error.strerror)"
    with run_tool(start_broker(grant)) as run:
        done = run(name, "run", "--", python(), "-c", code)
    assert (done.status, done.out) == (0, "Permission denied\n")
    assert done.err == f"nsbroker-get: grant 'only tcp' allows no udp sockets in namespace '{name}'; {SHOWN_BY_LIST}\n"
