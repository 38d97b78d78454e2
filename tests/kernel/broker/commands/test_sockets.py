"""`nsbrokerd sockets` lists exactly the live sockets of grants with limits."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr

import pytest

from nsbrokerd.commands.main import main
from nsbrokerd.seal import live_sockets, why_no_second_wall
from support.brokers.limited import LOOPBACK, command, grant, listed, open_limited
from support.brokers.process import BrokerProcess
from support.inside import cookie_inside, netns_cookie, socket_cookie
from support.namespaces import delete
from support.socket_listing import needs_listing
from support.users import OTHER_USER, USER, as_unprivileged

GRANTS = grant("walled", connect=["*:*"], sockets=["tcp", "udp", "udplite"]) + grant("free", sockets=["icmp", "unix"])


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return start_broker(GRANTS)


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace()


@needs_listing
def test_socket_is_listed_from_the_hand_over_until_it_is_closed(broker: BrokerProcess, name: str) -> None:
    """Unbound, bound and connected sockets, each with user, grant, namespace and age."""
    assert listed(broker) == []
    with open_limited(broker, name) as udp:
        [row] = listed(broker)
        since = row.pop("since")
        assert since <= broker.audit()[-1]["time"][:19] + "Z"
        assert row == {
            "uid": USER,
            "user": None,
            "grant": "walled",
            "namespace": name,
            "netns": cookie_inside(name),
            "kind": "udp",
            "local": None,
            "remote": None,
            "cookie": socket_cookie(udp),
            "is_limited": True,
            "handed_out": socket_cookie(udp),
            "revoked": False,
        }
        udp.bind((LOOPBACK, 5000))
        assert [(row["local"], row["remote"]) for row in listed(broker)] == [([LOOPBACK, 5000], None)]
        udp.connect((LOOPBACK, 5001))
        assert [(row["local"], row["remote"]) for row in listed(broker)] == [([LOOPBACK, 5000], [LOOPBACK, 5001])]
    assert listed(broker) == []


@needs_listing
def test_accepted_connection_is_listed_with_the_listener_that_it_came_by(broker: BrokerProcess, name: str) -> None:
    address = ("::1", 5000, 0, 0)
    stream = (socket.SOCK_STREAM, socket.AF_INET6)
    with (
        open_limited(broker, name, *stream, bind=address, listen=1) as listener,
        open_limited(broker, name, *stream, uid=OTHER_USER) as client,
    ):
        client.connect(address)
        with listener.accept()[0] as accepted:
            rows = {row["cookie"]: row for row in listed(broker)}
            assert rows.keys() == {socket_cookie(one) for one in (listener, client, accepted)}
            row = rows[socket_cookie(accepted)]
            assert (row["uid"], row["handed_out"]) == (USER, socket_cookie(listener))
            assert row["local"] == ["::1", 5000]
            assert row["remote"] == list(client.getsockname()[:2])
            assert rows[socket_cookie(client)]["uid"] == OTHER_USER


@needs_listing
def test_table_has_a_line_for_each(broker: BrokerProcess, name: str) -> None:
    with open_limited(broker, name, uid=0) as udp, open_limited(broker, name, socket.SOCK_STREAM) as tcp:
        udp.bind((LOOPBACK, 5000))
        heading, *lines = command(broker, "sockets").stdout.splitlines()
        assert heading.split() == ["USER", "GRANT", "NAMESPACE", "KIND", "LOCAL", "REMOTE", "SINCE", "COOKIE", "STATE"]
        cells = {line.split()[-1]: line.split()[:6] for line in lines}
        assert cells == {
            str(socket_cookie(udp)): ["root", "walled", name, "udp", f"{LOOPBACK}:5000", "-"],
            str(socket_cookie(tcp)): [str(USER), "walled", name, "tcp", "-", "-"],
        }


@needs_listing
def test_walls_in_force_are_named(broker: BrokerProcess, name: str) -> None:
    """By the pins of their programs. Without those of the second wall, the first one holds alone."""
    with open_limited(broker, name):
        before = command(broker, "sockets").stderr
        assert ("limits: both walls hold" in before) is (why_no_second_wall() is None)
        for hook in broker.seal_path.glob("hook_*"):
            hook.unlink()
        for line in (["sockets"], ["sockets", "--json"], ["revoke", "--grant", "walled"]):
            said = command(broker, *line).stderr
            assert "limits: only the first wall is complete; the second one lacks socket_" in said


@needs_listing
def test_namespace_whose_name_is_gone_is_shown_by_its_number(
    broker: BrokerProcess, make_namespace: Callable[..., str]
) -> None:
    name = make_namespace("gone")
    with open_limited(broker, name) as udp:
        delete(name)
        assert [(row["namespace"], row["netns"]) for row in listed(broker)] == [(None, netns_cookie(udp))]
        assert command(broker, "sockets").stdout.splitlines()[1].split()[2] == str(netns_cookie(udp))


@needs_listing
def test_watch_goes_on_until_it_is_interrupted(broker: BrokerProcess, name: str) -> None:
    line = command_line(broker)
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline()) == []
        with open_limited(broker, name):
            while not (rows := json.loads(watching.stdout.readline())):
                pass
            assert rows[0]["namespace"] == name
        watching.send_signal(signal.SIGINT)
        watching.stdout.read()
        assert watching.wait() == 0


def command_line(broker: BrokerProcess) -> list[str]:
    python = broker.command()[: broker.command().index("serve")]
    return [*python, "sockets", "--json", "--watch", "--config", str(broker.config_path)]


def test_only_root_is_told(broker: BrokerProcess) -> None:
    """Without a broker that has limits, the list is empty."""
    with pytest.raises(PermissionError):
        as_unprivileged(live_sockets, broker.seal_path)
    assert live_sockets(broker.seal_path.with_name("nowhere")) == []
    for verb in ("sockets", "revoke --user nobody"):
        status, said = as_unprivileged(say, f"{verb} --config {broker.config_path}")
        assert status == 2
        assert said.startswith("nsbrokerd: ")
        assert said.endswith("Permission denied: run this command as root\n")


def say(arguments: str) -> tuple[int, str]:
    """Act as nsbrokerd, and return the status and standard error."""
    sys.argv = ["nsbrokerd", *arguments.split()]
    with redirect_stderr(io.StringIO()) as said:
        return main(), said.getvalue()


@needs_listing
def test_successor_and_commands_list_what_a_killed_broker_gave(broker: BrokerProcess, name: str) -> None:
    with open_limited(broker, name) as udp:
        broker.kill()
        assert [row["cookie"] for row in listed(broker)] == [socket_cookie(udp)]
        broker.start()
        assert [row["cookie"] for row in listed(broker)] == [socket_cookie(udp)]
        with open_limited(broker, name) as another:
            assert {row["cookie"] for row in listed(broker)} == {socket_cookie(udp), socket_cookie(another)}


def test_kernel_that_lists_no_sockets_is_named(broker: BrokerProcess, name: str) -> None:
    """The other sockets are listed, and nothing is said to be revoked."""
    with open_limited(broker, name):
        done = _command_without_listing(broker, "sockets", "--json")
        assert (done.returncode, json.loads(done.stdout)) == (0, [])
        assert "sockets of grants with a limit can't be listed: this kernel refuses the program: no" in done.stderr
        done = _command_without_listing(broker, "revoke", "--grant", "walled")
        assert (done.returncode, done.stdout) == (2, "")
        assert "can't revoke sockets: this kernel refuses programs" in done.stderr
        assert "end the processes that hold them" in done.stderr


def _command_without_listing(broker: BrokerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run nsbrokerd as on a kernel that refuses programs which look at its own objects."""
    code = (
        "import sys; from nsbrokerd import seal; from nsbrokerd.seal import live\n"
        "from nsbrokerd.commands import main, sockets\n"
        "live.why_not_listed = seal.why_not_listed = sockets.why_not_listed = lambda: 'no'\n"
        "sys.exit(main.main())"
    )
    line = [sys.executable, "-P", "-c", code, *arguments, "--config", str(broker.config_path)]
    return subprocess.run(line, capture_output=True, text=True, check=False)
