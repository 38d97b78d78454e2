"""A broker that asks a real engine, and what the engine's containers are in."""

from __future__ import annotations

from nsbrokerd.namespaces.finding import cookie_of
from nsbrokerd.namespaces.netns import Gate
from support.brokers.process import BrokerProcess
from support.engines.docker import Docker
from support.engines.place import Place
from support.engines.podman import Podman
from support.users import USER

Engine = Podman | Docker


class BrokerBeside(BrokerProcess):
    """A broker in the network namespace that the engines take for the host's."""

    def __init__(self, place: Place, engine: Engine) -> None:
        self.place = place
        word = engine.engine
        grants = f"""
[[grant]]
name = "web"
users = [{USER}, 0]
namespaces = ["{word}:web*", "!{word}:web-mgmt"]
sockets = ["tcp", "udp"]
bind = ["*:80"]

[[grant]]
name = "all that has no engine"
users = ["*"]
namespaces = ["*"]
sockets = ["tcp"]
"""
        super().__init__(grants, f'[engines]\n{word} = "{engine.socket}"\n')

    def command(self) -> list[str]:
        return self.place.beside(*super().command())


def true_namespace(engine: Engine, name: str) -> int:
    """Return the cookie of the namespace that the first process of a container is in."""
    with open(f"/proc/{engine.inspect(name)['State']['Pid']}/ns/net") as file:
        return cookie_of(Gate(), file.fileno())
