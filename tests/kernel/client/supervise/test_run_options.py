"""`nsbroker-get NS run`: sockets are born with a mark and other options, and programs that set them again succeed."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Callable, Iterator

import pytest

from nsbroker.supervise.calls import SEE_LIST
from support.brokers.process import BrokerProcess
from support.tool.running import RunTool, program, python, run_tool
from support.users import USER

MARK = "0x10"
GRANT = """
[[grant]]
name = "options"
users = [{user}, 0]
namespaces = ["{name}"]
sockets = ["tcp", "udp", "packet", "icmp", "raw:icmp", "netlink:route"]
options = ["mark=0x10", "transparent"]
"""
SO_MARK, IP_TRANSPARENT, IPV6_TRANSPARENT = (1, 36), (0, 19), (41, 75)
IP_FREEBIND, IPV6_FREEBIND = (0, 15), (41, 78)

GET = """
import errno, json, socket, sys
sock = socket.socket(*map(int, sys.argv[1:4]))
def get(option): return sock.getsockopt(*option)
def set(option, value):
    try: sock.setsockopt(*option, value)
    except OSError as error: return errno.errorcode[error.errno]
print(json.dumps([{"get": get, "set": set}[name](*args) for name, *args in json.loads(sys.argv[4])]))
"""


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("options")


@pytest.fixture
def run(start_broker: Callable[..., BrokerProcess], name: str) -> Iterator[RunTool]:
    with run_tool(start_broker(GRANT.format(user=USER, name=name))) as tool:
        yield tool


def options(
    run: RunTool, name: str, flags: list[str], family: int, *steps: tuple[object, ...], uid: int = USER
) -> tuple[list[object], str]:
    """Take steps with a socket under `run`, and return their results and standard error."""
    kind = socket.SOCK_RAW if family == socket.AF_PACKET else socket.SOCK_DGRAM
    command = [python(), "-c", GET, str(int(family)), str(int(kind)), "0", json.dumps(steps)]
    done = run(name, "run", *flags, "--", *command, uid=uid)
    assert done.status == 0, done
    return json.loads(done.out), done.err


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_sockets_have_the_options_from_birth(run: RunTool, name: str, family: int) -> None:
    """And a program that sets them to the same values succeeds."""
    transparent = IP_TRANSPARENT if family == socket.AF_INET else IPV6_TRANSPARENT
    freebind = IP_FREEBIND if family == socket.AF_INET else IPV6_FREEBIND
    wanted = ((SO_MARK, 16), (transparent, 1), (freebind, 1))
    steps = [("get", option) for option, _ in wanted] + [("set", *pair) for pair in wanted]
    results, said = options(run, name, ["--mark", MARK, "--transparent", "--freebind"], family, *steps)
    assert (results, said) == ([16, 1, 1, None, None, None], "")


def test_packet_sockets_have_the_mark_and_netlink_sockets_are_as_ever(run: RunTool, name: str) -> None:
    flags = ["--mark", MARK, "--transparent", "--freebind"]
    assert options(run, name, flags, socket.AF_PACKET, ("get", SO_MARK)) == ([16], "")
    assert options(run, name, flags, socket.AF_NETLINK, ("get", SO_MARK)) == ([0], "")


def test_other_value_is_refused_and_the_line_names_the_flag(run: RunTool, name: str) -> None:
    steps = [("set", SO_MARK, 17), ("get", SO_MARK), ("set", IP_TRANSPARENT, 1), ("get", IP_TRANSPARENT)]
    results, said = options(run, name, ["--mark", MARK], socket.AF_INET, *steps)
    assert results == ["EPERM", 16, "EPERM", 0]
    assert said.splitlines() == [
        "nsbroker-get: the program may not set SO_MARK to 0x11 itself: use nsbroker-get NS run --mark 0x11",
        "nsbroker-get: the program may not set IP_TRANSPARENT to 0x1 itself: use nsbroker-get NS run --transparent",
    ]


def test_without_a_flag_the_line_names_it(run: RunTool, name: str) -> None:
    results, said = options(run, name, [], socket.AF_INET6, ("set", SO_MARK, 16), ("set", IPV6_TRANSPARENT, 1))
    assert results == ["EPERM", "EPERM"]
    assert [line.rpartition(" run ")[2] for line in said.splitlines()] == ["--mark 0x10", "--transparent"]


def test_transparent_can_be_switched_off_as_ever(run: RunTool, name: str) -> None:
    steps = [("set", IP_TRANSPARENT, 0), ("get", IP_TRANSPARENT)]
    assert options(run, name, ["--transparent"], socket.AF_INET, *steps) == ([None, 0], "")


def test_root_sets_them_itself(run: RunTool, name: str) -> None:
    steps = [("set", SO_MARK, 99), ("get", SO_MARK)]
    assert options(run, name, [], socket.AF_INET, *steps, uid=0) == ([None, 99], "")


def test_socket_of_the_callers_own_namespace_is_not_said_to_be_marked(run: RunTool, name: str) -> None:
    """A program that inherited one gets EPERM, since it has no mark."""
    code = (
        "import errno, socket\n"
        "sock = socket.socket(fileno=0)\n"
        "try: sock.setsockopt(1, 36, 16)\n"
        "except OSError as error: print(errno.errorcode[error.errno])\n"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        done = run.start(name, "run", "--mark", MARK, "--", python(), "-c", code, stdin=sock.fileno()).finish()
    assert done.out == "EPERM\n"


def test_program_that_can_not_be_traced_is_told_so(run: RunTool, name: str) -> None:
    """Nothing can read its memory, so the supervisor can't compare the value."""
    code = (
        "import ctypes, socket; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"
        "sock = socket.socket()\n"
        "try: sock.setsockopt(1, 36, 16)\n"
        "except OSError as error: print(error.errno, sock.getsockopt(1, 36))\n"
    )
    done = run(name, "run", "--mark", MARK, "--", python(), "-c", code)
    line = "can't read the SO_MARK of the program, which can't be traced: its sockets keep that of --mark"
    assert done == (0, f"{errno.EPERM} 16\n", f"nsbroker-get: {line}\n")


def test_capabilities_in_a_user_namespace_do_not_count(run: RunTool, name: str) -> None:
    """The program gets them by unshare(2), and still may not set the mark: the line names the flag."""
    code = (
        "import ctypes, errno, socket\n"
        "print(ctypes.CDLL(None).unshare(0x10000000))\n"
        "try: socket.socket().setsockopt(1, 36, 16)\n"
        "except OSError as error: print(errno.errorcode[error.errno])\n"
    )
    done = run(name, "run", "--", python(), "-c", code)
    if done.out.startswith("-1"):
        pytest.skip("this system forbids user namespaces to users")
    assert (done.status, done.out) == (0, "0\nEPERM\n")
    assert done.err.endswith("use nsbroker-get NS run --mark 0x10\n")


def test_bad_arguments_of_an_option_are_the_kernels_to_refuse(run: RunTool, name: str) -> None:
    code = (
        "import ctypes, errno, socket\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "sock = socket.socket()\n"
        "def set(fd, address, size):\n"
        "    libc.setsockopt(fd, 1, 36, ctypes.c_void_p(address), size)\n"
        "    return errno.errorcode[ctypes.get_errno()]\n"
        "print(set(sock.fileno(), 1, 4), set(999, 1, 4), set(sock.fileno(), 1, 2))\n"
    )
    assert run(name, "run", "--", python(), "-c", code) == (0, "EFAULT EBADF EINVAL\n", "")


def test_supervisor_keeps_no_file_of_a_program_that_sets_the_mark_of_a_pipe(run: RunTool, name: str) -> None:
    """The reader sees the end when the program closes the other end."""
    code = (
        "import ctypes, os, select\n"
        "reader, writer = os.pipe()\n"
        "ctypes.CDLL(None).setsockopt(writer, 1, 36, bytes(4), 4)\n"
        "os.close(writer)\n"
        "print(select.select([reader], [], [], 0)[0] == [reader])\n"
    )
    assert run(name, "run", "--", python(), "-c", code) == (0, "True\n", "")


def test_ping_with_a_mark(run: RunTool, name: str) -> None:
    """It sets the mark itself, and warns if it can't."""
    done = run(name, "run", "--mark", "16", "--", program("ping"), "-4", "-m", "16", "-c", "1", "127.0.0.1")
    assert (done.status, "1 received" in done.out, "mark" in done.err) == (0, True, False), done


def test_freebind_binds_an_address_that_does_not_exist_yet(run: RunTool, name: str) -> None:
    code = (
        "import socket\n"
        "try: print(socket.create_server(('192.0.2.99', 8080)).getsockname())\n"
        "except OSError as error: print(error.errno)"
    )
    assert run(name, "run", "--freebind", "--", python(), "-c", code).out == "('192.0.2.99', 8080)\n"
    assert run(name, "run", "--", python(), "-c", code).out == f"{errno.EADDRNOTAVAIL}\n"


def test_option_that_is_not_granted_is_a_refusal(run: RunTool, name: str) -> None:
    code = "import socket\ntry: socket.socket()\nexcept OSError as error: print(error.errno)"
    done = run(name, "run", "--mark", "17", "--", python(), "-c", code)
    assert (done.status, done.out) == (0, f"{errno.EACCES}\n")
    assert "mark=0x11" in done.err
    assert done.err.endswith(SEE_LIST + "\n")


def test_mark_must_be_a_number(run: RunTool, name: str) -> None:
    for text in ("blue", "-1", "4294967296", ""):
        done = run(name, "run", "--mark", text, "--", "true")
        assert (done.status, done.out) == (125, "")
        assert done.err.startswith("nsbroker-get: --mark takes ")
