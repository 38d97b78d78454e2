"""nsbroker-get as a program: the commands that it runs, its messages, and its end."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time

import pytest

from nsbroker import wire
from support.brokers.fake import FakeBroker, Visit, fake_broker
from support.tool.verbs import VERBS

SHOW = """
import json, os, socket
fds = range(3, 3 + int(os.environ.get("LISTEN_FDS", 0)))
socks = [socket.socket(fileno=fd) for fd in fds]
print(json.dumps({
    "pid": os.getpid(), "names": os.environ.get("LISTEN_FDNAMES"), "listen_pid": os.environ.get("LISTEN_PID"),
    "socks": [[s.family, s.type, s.getsockname()[0], s.getblocking()] for s in socks],
    "listening": [s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for s in socks],
    "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1],
    "pidfdid": os.environ.get("LISTEN_PIDFDID"),
}))
"""


class Tool:
    """nsbroker-get, started as a process with this broker."""

    def __init__(self, path: str) -> None:
        python_path = ":".join(entry for entry in sys.path if entry)
        self.environment = {**os.environ, "PYTHONPATH": python_path, "NSBROKER_SOCKET": path, "LISTEN_PIDFDID": "1"}
        self.command = [sys.executable, "-m", "nsbroker.cli"]

    def __call__(self, *args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [*self.command, *args]
        return subprocess.run(command, env=self.environment, input=stdin, capture_output=True, check=False, timeout=60)

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen([*self.command, *args], env=self.environment, stdin=pipe, stdout=pipe, stderr=pipe)


@pytest.fixture
def get(broker: FakeBroker) -> Tool:
    return Tool(broker.path)


def only_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one line on standard error."""
    text = done.stderr.decode()
    assert text.startswith("nsbroker-get: "), text
    assert text.count("\n") == 1, text
    assert text.endswith("\n"), text
    return text.removeprefix("nsbroker-get: ").rstrip()


def test_listen_passes_sockets_as_systemd_does(get: Tool) -> None:
    """They are open from descriptor 3 on, block, listen and have names, and LISTEN_PID is the command's pid."""
    process = get.start("blue", "listen", "-l", "127.0.0.1:0", "-l", "[::1]:0", "-l0", "--", sys.executable, "-c", SHOW)
    out, err = process.communicate(timeout=60)
    assert err == b""
    shown = json.loads(out)
    assert shown["pid"] == process.pid
    assert shown["listen_pid"] == str(process.pid)
    assert shown["names"] == "blue:blue:blue"
    assert [sock[2] for sock in shown["socks"]] == ["127.0.0.1", "::1", "0.0.0.0"]
    assert [sock[3] for sock in shown["socks"]] == [True] * 3
    assert shown["listening"] == [1, 1, 1]
    assert shown["fds"] == [0, 1, 2, 3, 4, 5]
    assert shown["pidfdid"] is None


def test_listen_with_more_sockets_than_descriptors_are_in_order(get: Tool) -> None:
    """Some arrive at the places of others. No descriptor is lost or mixed up."""
    hosts = [f"127.0.0.{number}" for number in range(1, 31)]
    args = [arg for host in hosts for arg in ("-l", f"{host}:0")]
    done = get("blue", "listen", *args, "--", sys.executable, "-c", SHOW)
    assert [sock[2] for sock in json.loads(done.stdout)["socks"]] == hosts


def test_listen_datagrams_are_bound_and_do_not_share_their_port(get: Tool) -> None:
    code = (
        "import socket; s = socket.socket(fileno=3)\n"
        "print(s.type, s.getsockopt(1, socket.SO_REUSEADDR), s.getsockname()[0])"
    )
    done = get("blue", "listen", "-u", "-l", "127.0.0.9:0", "--", sys.executable, "-c", code)
    assert done.stdout.split() == [b"2", b"0", b"127.0.0.9"]


def test_names_are_one_for_all_or_one_for_each(get: Tool) -> None:
    run = ["--", "sh", "-c", "echo $LISTEN_FDNAMES"]
    assert get("blue", "listen", "-l0", "-l0", "--fdname", "web", *run).stdout == b"web:web\n"
    assert get("blue", "listen", "-l0", "-l0", "--fdname=a", "--fdname=b", *run).stdout == b"a:b\n"
    assert get("/proc/self/ns/net", "listen", "-l0", *run).stdout == b"/proc/self/ns/net\n"
    for wrong in (["--fdname", "a:b"], ["--fdname", "ü"], ["--fdname=a", "--fdname=b", "--fdname=c"]):
        done = get("blue", "listen", "-l0", "-l0", *wrong, *run)
        assert done.returncode == 125
        assert "--fdname" in only_line(done)


def test_command_keeps_its_options_without_a_double_dash(get: Tool) -> None:
    assert get("blue", "listen", "-l0", "sh", "-c", "echo $LISTEN_FDS").stdout == b"1\n"


def test_exit_status_and_signals_are_the_commands_own(get: Tool) -> None:
    """This holds also for signals that Python ignores, because the command must not ignore them."""
    assert get("blue", "listen", "-l0", "--", "sh", "-c", "exit 42").returncode == 42
    ignored = int(get("blue", "listen", "-l0", "--", "grep", "SigIgn", "/proc/self/status").stdout.split()[1], 16)
    assert [number for number in (signal.SIGPIPE, signal.SIGXFSZ) if ignored & (1 << (number - 1))] == []


@pytest.mark.parametrize("number", [0, 3, 7, 100])
def test_socket_becomes_the_descriptor_that_was_asked_for(get: Tool, number: int) -> None:
    code = f"import socket; s = socket.socket(fileno={number}); print(int(s.family), int(s.type), s.proto)"
    done = get("blue", "socket", "--type", "udp", "-6", "--fd", str(number), "--", sys.executable, "-c", code)
    assert (done.stdout, done.stderr) == (b"10 2 17\n", b"")


def test_socket_may_be_several_descriptors(get: Tool) -> None:
    """As inetd does it: standard input and output."""
    code = "import os, sys; sys.stderr.write(str(os.path.sameopenfile(0, 1)))"
    done = get("blue", "socket", "--type=tcp", "--fd", "0", "--fd", "1", "--", sys.executable, "-c", code)
    assert done.stderr == b"True"


def test_socket_is_bound_where_it_was_asked_for(get: Tool) -> None:
    code = "import socket; print(socket.socket(fileno=3).getsockname()[0])"
    done = get("blue", "socket", "--type=tcp", "--bind=127.0.0.5:0", "--fd=3", "--", sys.executable, "-c", code)
    assert done.stdout == b"127.0.0.5\n"


def test_failure_to_run_is_said_even_when_standard_error_is_the_socket(get: Tool) -> None:
    done = get("blue", "socket", "--type=tcp", "--fd=2", "--", "no-such-command")
    assert done.returncode == 127
    assert only_line(done) == "can't run no-such-command: No such file or directory"


@pytest.mark.parametrize("verb", [["listen", "-l0"], ["socket", "--type=tcp", "--fd=3"]])
def test_command_that_can_not_run_ends_as_with_env(get: Tool, verb: list[str], tmp_path: object) -> None:
    """127 when it is not there, 126 when it can't be executed: compared with env(1) itself."""
    script = f"{tmp_path}/script"
    with open(script, "w") as file:
        file.write("#!/bin/sh\n")
    for command, status in (("no-such-command", 127), ("/nowhere/x", 127), (script, 126), (f"{tmp_path}", 126)):
        done = get("blue", *verb, "--", command)
        assert done.returncode == status
        assert command in only_line(done)
        assert subprocess.run(["env", command], capture_output=True, check=False).returncode == status


@pytest.mark.parametrize(
    "line",
    [
        "",
        "blue",
        "blue dance",
        "--nope list",
        "--wait x list",
        "blue connect",
        "blue connect 10.0.0.1",
        "blue connect '' 80",
        "blue connect 10.0.0.1 no-such-service",
        "blue connect 10.0.0.1 65536",
        "blue connect -F 10.0.0.1 80",
        "blue connect -s localhost 10.0.0.1 80",
        "blue connect -4 ::1 80",
        "blue connect -4 -6 ::1 80",
        "blue listen -- true",
        "blue listen -l 80",
        "blue listen -l 1.2.3.4 -- true",
        "blue listen -l 80/icmp -- true",
        "blue listen -u -p tcp -l 80 -- true",
        "blue listen -l 80 --nginx --inetd -- true",
        "blue listen -l 80 --nginx --accept -- true",
        "blue listen -l 80 --inetd --fdname x -- true",
        "blue listen -l 80 -l 81 --inetd -- true",
        "blue listen -l 80 --max 3 -- true",
        "blue listen -l 80 --accept --max 0 -- true",
        "blue listen -l 80 --accept --max x -- true",
        "blue listen -l 80/udp --accept -- true",
        "blue listen -l 80 --wait 61 -- true",
        "blue socket --fd 3 -- true",
        "blue socket --type tcp -- true",
        "blue socket --type tcp --fd x -- true",
        "blue socket --type tcp --fd 3",
        "blue socket --type nope --fd 3 -- true",
        "blue socket --type netlink:route --bind :80 --fd 3 -- true",
        "list a b",
        "list @nope",
        "list ''",
        "@own run -- true",
        "@nope run -- true",
        "run",
        "run blue -- true",
        "run --mark 3 blue -- true",
        "help dance",
        "lst",
        "blue resolve",
        "blue resolve a b",
        "blue resolve -4 -6 a",
        "blue resolve --json a",
    ],
)
def test_wrong_usage_is_125_and_one_line(get: Tool, line: str, broker: FakeBroker) -> None:
    """Before the broker is asked for anything."""
    done = get(*shlex.split(line))
    assert done.returncode == 125
    assert "--help" in only_line(done)
    assert broker.seen() == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("run blue -- curl", "the namespace comes before the verb: nsbroker-get blue run -- curl"),
        (
            "--wait 5 run blue --mark 3 -- echo 'a b'",
            "the namespace comes before the verb: nsbroker-get --wait 5 blue run --mark 3 -- echo 'a b'",
        ),
        ("run --mark 3 blue -- true", "run needs a namespace before it: nsbroker-get NS run --mark 3 blue -- true"),
        ("listen", "listen needs a namespace before it: nsbroker-get NS listen"),
        ("--timeout 2 blue rn -- true", "unknown verb 'rn': did you mean nsbroker-get --timeout 2 blue run -- true?"),
        ("blue cat x", "unknown verb 'cat': to run the program, write nsbroker-get blue -- cat x"),
        ("lst", "did you mean nsbroker-get list?"),
        ("help dance", "there is no help about 'dance': use one of "),
        ("@own run -- true", "@own stands for your own namespaces: give one by its path, such as /proc/PID/ns/net"),
        ("list @nope", "'@nope' is no name: only @host begins with an @"),
    ],
)
def test_words_in_the_wrong_order_get_the_line_that_is_meant(get: Tool, line: str, told: str) -> None:
    assert only_line(get(*shlex.split(line))).startswith(told)


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_given_however_it_is_asked_for(get: Tool, verb: str) -> None:
    """Also without a broker. With further words, `help` is the name of a namespace."""
    texts = [get(*words).stdout for words in (["help", verb], [verb, "help"], [verb, "--help"], ["blue", verb, "-h"])]
    assert texts[0].startswith(b"usage: nsbroker-get ")
    assert len(set(texts)) == 1
    assert get("help").stdout == get("blue", "help").stdout == get("--help").stdout != texts[0]
    assert get("help", "listen", "-l0", "--", "sh", "-c", "echo $LISTEN_FDNAMES").stdout == b"help\n"


def test_version_is_an_option_or_a_word(get: Tool) -> None:
    assert get("version").stdout == get("--version").stdout != b""


def test_namespace_with_the_name_of_a_verb_is_served_or_explained() -> None:
    """It may exist. If it does not, the verb may be meant."""
    with fake_broker() as broker:
        done = Tool(broker.path)("run", "listen", "-l0", "--", "true")
        assert (done.returncode, done.stderr) == (0, b"")
    for code, message in ((wire.NO_SUCH_NAMESPACE, "no such namespace"), (wire.DENIED, "no grant")):
        with fake_broker(lambda visit, code=code, message=message: visit.fail(code, None, 0, message)) as broker:
            done = Tool(broker.path)("run", "listen", "-l0", "--", "true")
        told = f"{message}; if run is your verb, put a namespace before it: nsbroker-get NS run"
        assert (only_line(done), done.returncode) == (told, 1)


def test_descriptor_past_the_limit_is_125(get: Tool) -> None:
    done = get("blue", "socket", "--type=tcp", "--fd", str(2**30), "--", "true")
    assert done.returncode == 125
    assert "ulimit -n" in only_line(done)


@pytest.mark.parametrize("args", [["connect", "127.0.0.1", "9"], ["listen", "-l0", "--", "true"]])
def test_no_broker_is_125_and_says_what_to_do(get: Tool, args: list[str]) -> None:
    done = get("--broker", "/nowhere/socket", "blue", *args)
    assert done.returncode == 125
    assert only_line(done).startswith("no broker at /nowhere/socket: start nsbrokerd")


def test_silent_broker_is_125_after_the_timeout(get: Tool, broker: FakeBroker) -> None:
    os.kill(broker.pid, signal.SIGSTOP)
    done = get("--timeout", "0.05", "blue", "listen", "-l0", "--", "true")
    assert done.returncode == 125
    assert "did not answer within 0.05 s" in only_line(done)


def test_refusal_is_1_and_gives_the_brokers_reason() -> None:
    """Control characters in it do not reach the terminal."""
    with fake_broker(lambda visit: visit.fail(wire.DENIED, index=0, message="no grant\x1b[2J\nin blue")) as broker:
        done = Tool(broker.path)("blue", "listen", "-l", "80", "--", "true")
    assert done.returncode == 1
    remedy = "nsbroker-get blue explain tcp --bind 0.0.0.0:80 shows what each grant lacks"
    assert only_line(done) == rf"no grant\x1b[2J\nin blue; {remedy}"


def test_address_in_use_is_1_and_names_the_address() -> None:
    def refuse(visit: Visit) -> None:
        visit.fail(wire.OS_ERROR, errno.EADDRINUSE, 1, os.strerror(errno.EADDRINUSE))

    with fake_broker(refuse) as broker:
        done = Tool(broker.path)("blue", "listen", "-l", "80", "-l", ":81", "--", "true")
    assert done.returncode == 1
    assert only_line(done).startswith("-l :81: Address already in use: ")


def test_missing_namespace_is_1(get: Tool) -> None:
    done = get("/nowhere/net", "listen", "-l0", "--", "true")
    assert done.returncode == 1
    assert only_line(done) == "can't open the namespace /nowhere/net: No such file or directory"


def test_wait_reaches_the_broker() -> None:
    def answer(visit: Visit) -> None:
        assert isinstance(visit.request, wire.OpenRequest)
        visit.fail(wire.NO_SUCH_NAMESPACE, message=f"waited {round(visit.request.wait_s)} s")

    with fake_broker(answer) as broker:
        done = Tool(broker.path)("--wait", "2", "blue", "listen", "-l0", "--", "true")
    assert done.returncode == 1
    assert only_line(done).startswith("waited 2 s; ")


def test_name_that_can_not_be_looked_up_is_one_line(get: Tool) -> None:
    done = get("blue", "listen", "-l", "example.com:80", "--", "true")
    assert done.returncode == 1
    assert only_line(done).startswith("-l example.com:80: Temporary failure in name resolution: the name server")


def test_name_that_is_not_found_is_1_and_says_where_names_come_from(get: Tool) -> None:
    done = get("blue", "connect", "example.com", "80")
    assert done.returncode == 1
    assert only_line(done).startswith("can't connect to example.com port 80: Temporary failure in name resolution: ")
    assert "give the namespace its own in /etc/netns/blue/resolv.conf" in only_line(done)


def test_refused_connection_is_1_and_names_host_and_port(get: Tool) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        done = get("blue", "connect", "127.0.0.1", str(port))
    assert done.returncode == 1
    assert only_line(done) == f"can't connect to 127.0.0.1 port {port}: Connection refused: " + (
        "no server listens there, so start one, or check address and port"
    )


def test_source_that_is_not_here_is_1(get: Tool) -> None:
    done = get("blue", "connect", "-s", "192.0.2.1", "127.0.0.1", "9")
    assert done.returncode == 1
    assert only_line(done) == (
        "can't connect from 192.0.2.1: Cannot assign requested address: "
        "the namespace has no such address, see nsbroker-get blue -- ip -brief address"
    )


def test_interrupt_is_130_without_a_word(get: Tool, broker: FakeBroker) -> None:
    """Ctrl-C while it waits for the broker."""

    def interrupt(visit: Visit) -> None:
        pid = int.from_bytes(visit.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder)
        os.kill(pid, signal.SIGINT)

    broker.kill()
    broker.script = interrupt
    broker.start()
    done = get("blue", "listen", "-l0", "--", "true")
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_list_is_a_table_of_what_is_granted(get: Tool) -> None:
    done = get("list")
    assert done.stderr == b""
    assert done.stdout.decode().splitlines() == [
        "NAMESPACE  SOCKETS  BIND  GRANT  LIMIT",
        "blue       tcp udp  *:80  web    -",
        "blue       udp      -     names  connect 10.0.0.0/8:53 [fd00::/8]:53, bind nowhere",
        "@host      tcp udp  *:80  web    -",
    ]
    assert len(get("list", "@host").stdout.splitlines()) == 2
    assert get("@host", "list").stdout == get("list", "@host").stdout


def test_list_speaks_json(get: Tool) -> None:
    grants = json.loads(get("list", "--json", "blue").stdout)
    assert [grant["namespace"] for grant in grants] == ["blue"]
    web = {"grant": "web", "sockets": ["tcp", "udp"], "bind": ["*:80"], "options": [], "limit": {}}
    names = {"grant": "names", "sockets": ["udp"], "bind": [], "options": []}
    limit = {"connect": ["10.0.0.0/8:53", "[fd00::/8]:53"], "bind": []}
    assert grants[0]["grants"] == [web, {**names, "limit": limit}]


def test_list_of_a_namespace_that_is_not_listed_asks_for_its_grants(get: Tool) -> None:
    """The namespace may not exist yet, or have no name."""
    assert get("list", "red").stdout.decode().splitlines()[1].split() == ["red", "web"]


def test_list_names_the_engines_that_do_not_answer() -> None:
    with fake_broker(lambda visit: visit.list_namespaces("podman:web", engines={"docker": "it is dead"})) as broker:
        done = Tool(broker.path)("list")
    assert only_line(done) == "the containers of docker are not listed: it is dead"
    assert done.stdout.decode().splitlines()[-1].split() == ["podman:web", "tcp", "udp", "*:80", "web", "-"]
    assert done.returncode == 0


def test_list_of_a_broker_of_the_previous_release_has_no_engines() -> None:
    """It refuses the key that asks for them. Then the client asks without it."""

    def answer(visit: Visit) -> None:
        assert isinstance(visit.request, wire.NamespacesRequest)
        if visit.request.engines:
            visit.fail(wire.BAD_REQUEST, message="unknown key 'engines' in the request")
        else:
            visit.list_namespaces()

    with fake_broker(answer) as broker:
        done = Tool(broker.path)("list")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines()[1].split()[0] == "blue"


def test_list_ends_quietly_when_nobody_reads_it(get: Tool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*get.command, "list"], env=get.environment, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_help_and_version_need_no_broker() -> None:
    get = Tool("/nowhere/socket")
    assert get("--help").stdout.startswith(b"usage: nsbroker-get ")
    assert get("blue", "listen", "--help").stdout.startswith(b"usage: nsbroker-get [OPTIONS] NS listen ")
    assert get("--version").stdout.startswith(b"nsbroker-get ")


def test_closed_standard_descriptors_are_not_mistaken_for_sockets(get: Tool) -> None:
    """It starts without descriptors 0, 1 and 2, and the first sockets must not get these numbers."""
    output = f"/tmp/nsbroker-test-{os.getpid()}-{time.monotonic_ns()}"
    script = f"ls -l /proc/self/fd > {output}"
    command = shlex.join([*get.command, "blue", "listen", "-l0", "--", "sh", "-c", script])
    subprocess.run(["sh", "-c", f"exec {command} <&- >&- 2>&-"], env=get.environment, check=True)
    with open(output) as listing:
        lines = [line.split()[8:] for line in listing.read().splitlines()[1:]]
    os.unlink(output)
    sockets = [line[0] for line in lines if line[-1].startswith("socket:")]
    assert sockets == ["3"]


@pytest.mark.parametrize("args", [["--version"], ["listen", "--help"], ["list"]])
def test_output_that_can_not_be_written_is_one_line(get: Tool, args: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*get.command, *args], env=get.environment, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert (only_line(done), done.returncode) == ("can't write to standard output: No space left on device", 125)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("args", ["--version", "blue listen -l0 -- true", "blue socket --type udp --fd 0 -- true"])
def test_standard_descriptors_may_be_closed(get: Tool, args: str, closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join(get.command)} {args} {closed}"],
        env=get.environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_full_table_of_descriptors_is_one_line(get: Tool) -> None:
    """Even where it keeps a module from being loaded."""
    for limit in range(5, 9):
        done = subprocess.run(
            ["sh", "-c", f"ulimit -n {limit}; exec {shlex.join(get.command)} blue listen -l0 -- true"],
            env=get.environment,
            capture_output=True,
            check=False,
            timeout=60,
        )
        if done.returncode == 0:
            break
        assert "Too many open files" in only_line(done)
        assert done.returncode in (1, 125, 126)
    assert done.returncode == 0
    assert limit > 5


def test_command_without_a_name_is_not_found(get: Tool) -> None:
    for verb in (["listen", "-l0"], ["socket", "--type", "udp", "--fd", "3"]):
        done = get("blue", *verb, "--", "")
        assert (only_line(done), done.returncode) == ("can't run '': No such file or directory", 127)
