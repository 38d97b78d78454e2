"""The broker in a container, under podman, with crun and runc: it serves, limits, reloads, and stops."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nsbroker import SocketSpec
from nsbroker.wire import OpenReply, OpenRequest
from nsbrokerd.sockets.capabilities import KEPT
from support.brokers.limited import can_send, grant
from support.container_broker import CLIENTS, ContainerBroker, owner_of
from support.inside import socket_cookie
from support.socket_listing import why_not
from support.unified_podman import UnifiedPodman

HOSTS_GROUPS = "--cgroupns=host"
SHOWN_GROUPS = "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"
UNIT_CAPABILITIES = ",".join(name.removeprefix("CAP_") for name in KEPT)
LIMITED = grant(connect=["127.0.0.0/8:5000"])
UNLIMITED = grant("unlimited")


Make = Callable[..., ContainerBroker]


def open_socket(broker: ContainerBroker, name: str) -> socket.socket:
    """Return a UDP socket in a namespace. The caller owns it."""
    with broker.client() as client:
        reply = client.ask(OpenRequest(1, (SocketSpec(name, int(socket.AF_INET), int(socket.SOCK_DGRAM)),)))
        assert isinstance(reply, OpenReply), reply
        return socket.socket(fileno=client.fds.pop())


def test_image_has_no_tools_to_build_with(podman: UnifiedPodman, image: str) -> None:
    found = podman(
        "run", "--rm", "--network=none", image, "sh", "-c", "command -v pip pip3 gcc make; ls -d /pip /wheels; true"
    )
    assert found == ""


def test_serves_names_that_are_added_later_with_a_read_only_root(
    make: Make, runtime: UnifiedPodman, make_namespace: Callable[..., str]
) -> None:
    broker = make(runtime, UNLIMITED)
    broker.start()
    name = make_namespace()
    with open_socket(broker, name) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, 71, 8) == namespace_cookie(name)
    assert owner_of(broker.socket_path) == CLIENTS
    assert "fault" not in broker.log()
    record = json.loads((broker.directory / "audit" / "json").read_text().splitlines()[-1])
    assert (record["outcome"], record["namespace"], record["uid"], record["pid"]) == ("allowed", name, 0, None)
    assert "no pid in the audit" in broker.log()
    assert broker.execute("nsbrokerd", "health").startswith("healthy: serving")


def namespace_cookie(name: str) -> bytes:
    from support.far_side import socket_inside

    with socket_inside(name, socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, 71, 8)


GROUPS = {
    "private": (),
    "private, and the host's beside": (SHOWN_GROUPS,),
    "host": (HOSTS_GROUPS,),
    "host, writable": (HOSTS_GROUPS, SHOWN_GROUPS),
    "private, with the host's pids": ("--pid=host",),
}


@pytest.mark.parametrize("options", GROUPS.values(), ids=GROUPS)
def test_limits_hold(
    make: Make, runtime: UnifiedPodman, make_namespace: Callable[..., str], options: tuple[str, ...]
) -> None:
    name = make_namespace()
    broker = make(runtime, LIMITED + UNLIMITED.replace('["*"]', "[65533]"))
    broker.start(*options)
    with open_socket(broker, name) as sock:
        assert [can_send(sock, 5000), can_send(sock, 5001)] == [True, False]
        broker.configure(grant(connect=["127.0.0.0/8:5001"]))
        broker.execute("nsbrokerd", "reload")
        assert [can_send(sock, 5000), can_send(sock, 5001)] == [False, True]


def test_limits_outlive_the_container(make: Make, runtime: UnifiedPodman, make_namespace: Callable[..., str]) -> None:
    name = make_namespace()
    broker = make(runtime, LIMITED)
    broker.start()
    with open_socket(broker, name) as sock:
        broker.stop()
        assert [can_send(sock, 5000), can_send(sock, 5001)] == [True, False]
        broker.configure(grant(connect=["127.0.0.0/8:5001"]))
        broker.start()
        assert [can_send(sock, 5000), can_send(sock, 5001)] == [False, True]
        if why_not() is None:
            listed = json.loads(broker.execute("nsbrokerd", "sockets", "--json"))
            assert [one["cookie"] for one in listed] == [socket_cookie(sock)]


@pytest.mark.parametrize("pids", ["private", "host"])
@pytest.mark.parametrize("grants", [LIMITED, UNLIMITED], ids=["limited", "unlimited"])
def test_stops_in_time(
    make: Make, runtime: UnifiedPodman, make_namespace: Callable[..., str], grants: str, pids: str
) -> None:
    broker = make(runtime, grants)
    broker.start(f"--pid={pids}")
    with open_socket(broker, make_namespace()):
        began = time.monotonic()
        broker.podman("stop", broker.name)
        print(f"stopped in {time.monotonic() - began:.1f} s")
    assert broker.podman("inspect", "--format={{.State.ExitCode}}", broker.name) == "0"
    assert '"stopped"' in broker.log()


# Between fork and exec the process's own id is known: so LISTEN_PID is set there. Source: sd_listen_fds(3).
LAUNCHER = """
import os, sys
far = [os.dup2(int(fd), 100 + at) for at, fd in enumerate(sys.argv[1:3])]
for at, fd in enumerate(far): os.dup2(fd, 3 + at)
os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="nsbrokerd.socket:control")
os.execvp(sys.argv[3], sys.argv[3:])
"""


def test_takes_the_sockets_of_systemd_without_chown(
    make: Make, runtime: UnifiedPodman, make_namespace: Callable[..., str]
) -> None:
    """Podman passes them on, as for the quadlet. The broker needs only the capabilities of its unit."""
    broker = make(runtime, UNLIMITED)
    with contextlib.ExitStack() as stack:
        listeners = []
        for path in (broker.socket_path, broker.run_directory / "control.sock"):
            listeners.append(stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)))
            listeners[-1].bind(str(path))
            listeners[-1].listen()
        fds = [listener.fileno() for listener in listeners]
        options = broker.options(capabilities=UNIT_CAPABILITIES)
        line = [*runtime.full_command, "run", "--detach", f"--name={broker.name}", *options, broker.image]
        subprocess.run(
            [sys.executable, "-c", LAUNCHER, *map(str, fds), *line],
            pass_fds=fds,
            env={**os.environ, **runtime.environment},
            stdout=subprocess.DEVNULL,
            check=True,
        )
    # These are the container's alone now.
    with open_socket(broker, make_namespace()):
        pass
    assert '"socket": "of the service manager"' in broker.log()
    assert broker.execute("nsbrokerd", "health").startswith("healthy: serving")


def test_says_that_later_names_are_hidden(
    make: Make, podman: UnifiedPodman, make_namespace: Callable[..., str]
) -> None:
    make_namespace()
    broker = make(podman, UNLIMITED)
    broker.start("--volume=/run/netns:/run/netns:ro,private", without=("/run/netns",))
    told = "namespaces that get a name later can't be seen here"
    assert told in broker.log()
    assert "-v /run/netns:/run/netns:rslave" in broker.log()
    assert told in broker.podman.run("exec", broker.name, "nsbrokerd", "health").stdout
    status, output = broker.run("nsbrokerd", "check", without=("/run/netns",))
    assert (status, told in output) == (1, True)


def test_says_that_it_lacks_chown(make: Make, podman: UnifiedPodman) -> None:
    broker = make(podman, UNLIMITED)
    status, output = broker.run(capabilities=UNIT_CAPABILITIES)
    assert status == 1
    assert "to the group nogroup: let it have CAP_CHOWN" in output


def test_says_that_limits_end_with_the_container(make: Make, podman: UnifiedPodman) -> None:
    broker = make(podman, LIMITED)
    broker.start(without=("/sys/fs/bpf",))
    assert "they end with this container" in broker.log()
    assert "-v /sys/fs/bpf:/sys/fs/bpf" in broker.log()


def test_says_which_right_limits_lack(make: Make, podman: UnifiedPodman, tmp_path: Path) -> None:
    """A profile of seccomp can forbid a container to have its control group writable."""
    profile = tmp_path / "seccomp.json"
    forbidden = {"names": ["mount_setattr", "fsopen", "fsmount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [forbidden]}))
    broker = make(podman, LIMITED)
    status, output = broker.run(options=(f"--security-opt=seccomp={profile}",))
    assert status == 1
    assert "is read-only here" in output
    assert "-v /sys/fs/cgroup:/sys/fs/cgroup:rw" in output
