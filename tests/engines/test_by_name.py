"""Containers by name, from the client to the engine: an unprivileged user, a real broker, and real engines."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from nsbroker import BrokerUnavailableError
from nsbroker.wire import OVERLOADED, ErrorReply, OpenReply, Reply, Request
from support.adapters.programs import listens_on
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import RawClient, connect_as, netns_of, tcp
from support.checkout import CHECKOUT
from support.engines.broker import true_namespace
from support.engines.docker import Docker
from support.engines.place import IMAGE, Place
from support.engines.podman import Podman
from support.own_etc import own_etc
from support.users import USER
from support.waiting import wait_until

Engine = Podman | Docker

PAGE = "a page out of the container"
PATIENCE_S = 120
SERVER = ("sh", "-c", f"echo {PAGE} > /www/index.html; exec httpd -f -p 80 -h /www")
COMMANDS = re.search(r"```sh engines\n(.*?)```", (CHECKOUT / "deploy/docs/containers.md").read_text(), re.DOTALL)


def get(broker: BrokerProcess, *arguments: str, user: int = USER) -> subprocess.CompletedProcess[str]:
    """Run nsbroker-get as a user."""
    return subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "nsbroker.cli",
            "--broker",
            str(broker.socket_path),
            "--timeout",
            "60",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=65534,
        extra_groups=[],
        stdin=subprocess.DEVNULL,
    )


def test_user_reaches_the_containers_of_its_grants_alone(engine: Engine, broker: BrokerProcess) -> None:
    word = engine.engine
    for name in ("web", "web-mgmt", "db"):
        engine.start(name, command=SERVER)
    with connect_as(USER, broker) as client:
        assert netns_of(client.ask(tcp(f"{word}:web"))) == [true_namespace(engine, "web")]
        for name in ("web-mgmt", "db", "nowhere"):
            assert client.refusal(tcp(f"{word}:{name}")).code == "denied"
        refusal = client.refusal(tcp(f"{word}:{engine.inspect('web')['Id'][:12]}"))
        assert refusal.code == "denied"
    [record] = [one for one in broker.audit() if one["outcome"] == "allowed"]
    assert (record["container"], record["netns"]) == (engine.inspect("web")["Id"], true_namespace(engine, "web"))


class PatientClient(RawClient):
    """Asks again if the engine has not answered the broker in time: it can be slow on a busy machine."""

    asked: bytes | Request = b""

    def send(self, packet: bytes | Request, fds: Sequence[int] = ()) -> None:
        self.asked = packet
        super().send(packet, fds)

    def receive(self) -> Reply | None:
        deadline = time.monotonic() + PATIENCE_S
        while isinstance(reply := super().receive(), ErrorReply) and reply.code == OVERLOADED:
            assert time.monotonic() < deadline, reply
            self.send(self.asked)
        return reply


def test_each_state_has_its_answer(engine: Engine, broker: BrokerProcess) -> None:
    word = engine.engine
    engine.start("web")
    engine.start("web-host", "--network=host")
    with PatientClient(broker) as client:
        first = netns_of(client.ask(tcp(f"{word}:web")))
        engine("restart", "--time=0", "web")
        second = netns_of(client.ask(tcp(f"{word}:web")))
        assert second == [true_namespace(engine, "web")] != first
        engine("stop", "--time=0", "web")
        assert "does not run" in client.refusal(tcp(f"{word}:web")).message
        client.send(tcp(f"{word}:web", wait_s=60))
        engine("start", "web")
        assert netns_of(client.receive()) == [true_namespace(engine, "web")]
        assert "@host" in client.refusal(tcp(f"{word}:web-host")).message
        assert client.refusal(tcp(f"{word}:web-none")).code == "no-such-namespace"
        assert isinstance(client.ask(tcp(f"{word}:web")), OpenReply)


def test_tool_lists_runs_and_explains(engine: Engine, broker: BrokerProcess) -> None:
    word = engine.engine
    engine.start("web", command=SERVER)
    listed = get(broker, "list")
    assert f"{word}:web " in listed.stdout, listed
    assert listed.stderr == ""
    explained = get(broker, f"{word}:web", "explain", "tcp")
    assert explained.stdout.startswith(f"allowed: a tcp socket in {word}:web, by grant 'web'"), explained
    explained = get(broker, f"{word}:web-later", "explain", "tcp")
    assert f"{word}:web-later does not exist now" in explained.stdout, explained
    page = get(
        broker,
        "--wait",
        "60",
        f"{word}:web",
        "run",
        "--",
        "curl",
        "-s",
        "--retry",
        "20",
        "--retry-connrefused",
        "http://127.0.0.1/",
    )
    assert page.stdout.strip() == PAGE, page
    refused = get(broker, f"{word}:db", "run", "--", "true")
    assert "no grant of uid" in refused.stderr + get(broker, f"{word}:db", "explain", "tcp").stdout


def test_names_of_the_containers_network_are_found(engine: Engine, broker: BrokerProcess) -> None:
    """By the engine's own name server, which the container's resolv.conf names."""
    word, network = engine.engine, f"nsbt{os.getpid()}"
    engine("network", "create", network)
    try:
        engine.start("db", f"--network={network}")
        engine.start("web", f"--network={network}")
        address = engine.inspect("db")["NetworkSettings"]["Networks"][network]["IPAddress"]
        found = get(broker, f"{word}:web", "resolve", "-4", "db")
        assert found.stdout.split() == [address], found
    finally:
        engine.run("rm", "--force", "web", "db")
        engine.run("network", "rm", network)


def test_engine_that_has_ended_is_unavailable(broker: BrokerProcess, engine: Engine) -> None:
    broker.configure(
        f'[[grant]]\nname = "x"\nusers = ["*"]\nnamespaces = ["{engine.engine}:*"]\nsockets = ["tcp"]\n',
        f'[engines]\n{engine.engine} = "{broker.directory}/gone.sock"\n',
    )
    broker.reload()
    from nsbroker import Client, SocketSpec

    with pytest.raises(BrokerUnavailableError, match=engine.engine):
        Client(str(broker.socket_path)).open([SocketSpec(f"{engine.engine}:web", 2, 1)])
    listed = get(broker, "list")
    assert f"the containers of {engine.engine} are not listed: " in listed.stderr
    checked = subprocess.run(
        [sys.executable, "-P", "-m", "nsbrokerd", "check", "--config", str(broker.config_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 1
    assert f"engines.{engine.engine}: " in checked.stderr


def test_commands_of_the_page_lead_to_a_page_out_of_the_container(
    podman: Podman, engine_host: Place, tmp_path: Path
) -> None:
    """In an /etc of the test alone, with the shipped configuration."""
    assert COMMANDS is not None
    first, *lines = COMMANDS[1].splitlines()
    assert len(lines) == 4
    # Outside of the test's own /etc, which has its own mounts: the service could not see the container's namespace.
    _, *words, image = shlex.split(first)
    assert image == "docker.io/library/nginx"
    podman(*words, IMAGE, *SERVER)
    server = f"/proc/{podman.inspect('web')['State']['Pid']}"
    wait_until(lambda: listens_on(server, [80]))
    for name in ("nsbrokerd", "nsbroker"):
        command = tmp_path / {"nsbroker": "nsbroker-get"}.get(name, name)
        module = {"nsbroker": "nsbroker.cli"}.get(name, name)
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m {module} "$@"\n')
        command.chmod(0o755)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.owner() == "root" and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    broker = BrokerProcess("")
    with own_etc() as etc:
        subprocess.run(["groupadd", "nsbroker"], check=False)
        subprocess.run(["useradd", "--no-create-home", "alice"], check=True)
        (etc / "nsbroker").mkdir(exist_ok=True)
        shipped = (
            (CHECKOUT / "deploy/nsbrokerd.toml").read_text().replace("/run/podman/podman.sock", str(podman.socket))
        )
        shipped = shipped.replace("[broker]\n", f'[broker]\nsocket = "{broker.socket_path}"\n')
        (etc / "nsbroker/nsbrokerd.toml").write_text(shipped)
        broker.config_path = Path("/etc/nsbroker/nsbrokerd.toml")
        beside, command = engine_host.beside, BrokerProcess.command(broker)
        broker.command = lambda: beside(*command)  # type: ignore[method-assign]  # as BrokerBeside
        environment = {
            **os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "NSBROKER_SOCKET": str(broker.socket_path),
        }  # fmt: skip
        try:
            broker.start()
            output = ""
            for line in lines:
                words = shlex.split(line)
                if words[0] == "systemctl":
                    assert words[1:] == ["enable", "--now", "podman.socket"]
                else:
                    done = subprocess.run(
                        ["sh", "-c", line], env=environment, capture_output=True, text=True, check=False
                    )
                    assert done.returncode == 0, (line, done, broker.log())
                    output = done.stdout
                    if "nsbrokerd" in words[0]:
                        broker.reload()  # systemd does this
            assert output.strip() == PAGE
        finally:
            broker.close()
