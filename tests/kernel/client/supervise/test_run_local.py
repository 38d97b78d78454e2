"""`nsbroker-get NS run`: services of the machine by Unix sockets work beside a program that asks about interfaces."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.brokers.process import BrokerProcess
from support.inside import call_inside
from support.tool.running import RunTool, program, python, run_tool

ASK = "import socket, sys; assert socket.if_nametoindex('lo') == 1\n"


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("local")


@pytest.fixture
def run(broker: BrokerProcess, name: str) -> Iterator[RunTool]:
    with run_tool(broker) as tool:
        yield tool


@pytest.fixture
def service(open_directory: Path) -> Iterator[socket.socket]:
    """A datagram socket at a path, which every user can send to."""
    path = open_directory / "service"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        path.chmod(0o666)
        sock.settimeout(60)
        yield sock


def test_logger_reaches_syslog(run: RunTool, name: str, service: socket.socket) -> None:
    done = run(name, "run", "--", program("logger"), "--socket", service.getsockname(), "--tag", "test", "a message")
    assert done == (0, "", "")
    assert service.recv(1000).endswith(b"a message")


SYSLOG = ASK + (
    "import logging.handlers\n"
    "handler = logging.handlers.SysLogHandler(sys.argv[1])\n"
    "logging.getLogger().addHandler(handler)\n"
    "logging.error('before')\n"
    "assert socket.if_nametoindex('lo') == 1\n"
    "logging.error('after')\n"
)


def test_connected_syslog_socket_stays(run: RunTool, name: str, service: socket.socket) -> None:
    assert run(name, "run", "--", python(), "-c", SYSLOG, service.getsockname()) == (0, "", "")
    assert [service.recv(1000), service.recv(1000)] == [b"<11>before\0", b"<11>after\0"]


NOTIFY = ASK + (
    "import os\n"
    "address = os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1)\n"
    "with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:\n"
    "    sock.connect(address)\n"
    "    sock.sendall(b'READY=1')\n"
)
"""The sender of sd_notify(3)'s manual page."""


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_service_manager_is_notified(run: RunTool, name: str, service: socket.socket, abstract: bool) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(f"\0nsbroker-tests-notify-{os.getpid()}")
        other.settimeout(60)
        listener = other if abstract else service
        address = listener.getsockname()
        text = "@" + address[1:].decode() if isinstance(address, bytes) else address
        done = run(name, "run", "--", "env", f"NOTIFY_SOCKET={text}", python(), "-c", NOTIFY)
        assert done == (0, "", "")
        assert listener.recv(100) == b"READY=1"


BUS = """
<busconfig>
  <type>custom</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"""


@pytest.fixture
def bus(open_directory: Path) -> Iterator[str]:
    """The address of a D-Bus for every user."""
    (open_directory / "bus.conf").write_text(BUS.format(path=open_directory / "bus"))
    daemon = [program("dbus-daemon"), f"--config-file={open_directory}/bus.conf", "--nofork", "--print-address"]
    with subprocess.Popen(daemon, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def test_d_bus(run: RunTool, name: str, bus: str) -> None:
    """The bus knows its client by the uid. The uid must have a name, so the client is root."""
    send = [program("dbus-send"), f"--bus={bus}", "--print-reply", "--dest=org.freedesktop.DBus", "/"]
    method = ["org.freedesktop.DBus.GetConnectionUnixUser", "string::1.0"]
    done = run(name, "run", "--", *send, *method, uid=0)
    assert done.status == 0, done
    assert done.out.splitlines()[1].split() == ["uint32", "0"]


def first_words(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()]


def test_proc_and_sys_are_the_callers(run: RunTool, name: str) -> None:
    """The documents say so, and that netlink answers for the namespace."""
    for path in ("/proc/net/dev", "/proc/net/route"):
        seen = run(name, "run", "--", "cat", path).out
        assert first_words(seen) == first_words(Path(path).read_text())
    setting = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    call_inside(name, Path(setting).write_text, "80")
    own = Path(setting).read_text()
    assert own != "80\n"
    assert run(name, "run", "--", "cat", setting).out == own
    own_interfaces = sorted(os.listdir("/sys/class/net"))
    assert sorted(run(name, "run", "--", "ls", "/sys/class/net").out.split()) == own_interfaces
    assert first_words(run(name, "run", "--", program("ip"), "-brief", "link").out) == ["lo"]
