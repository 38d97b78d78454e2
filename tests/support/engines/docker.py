"""A dockerd of Debian, with its own containerd, storage, networks and socket."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from .place import IMAGE, Place, daemon, standing_still

_CONTAINERD = """
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{0}/containerd.sock"
"""


class Docker:
    """The daemon, and the command that manages its containers."""

    engine = "docker"
    """Its word of `nsbrokerd.policy.engine_names.ENGINES`."""

    def __init__(self, place: Place) -> None:
        self.directory = place.directory / "docker"
        (self.directory / "containerd").mkdir(parents=True)
        self.socket = self.directory / "docker.sock"
        self._place = place

    def __call__(self, *arguments: str) -> str:
        """Run `docker ARGUMENT...`, which must succeed, and return its output."""
        return self.run(*arguments, check=True).stdout.strip()

    def run(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run `docker ARGUMENT...`."""
        done = subprocess.run(
            ["docker", f"--host=unix://{self.socket}", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DOCKER_CONFIG": str(self.directory / "config")},
        )
        assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
        return done

    def start(self, name: str, *options: str, command: tuple[str, ...] = ("sleep", "100000")) -> str:
        """Start a container that waits, and return its id."""
        return self("run", "--detach", "--stop-timeout=0", f"--name={name}", *options, IMAGE, *command)

    def inspect(self, name: str) -> Any:
        """Return what the command knows about a container."""
        return json.loads(self("container", "inspect", name))[0]

    def version(self) -> str:
        return self("version", "--format={{.Server.Version}}")

    def standing_still(self) -> AbstractContextManager[None]:
        """Let the service answer no more while the context lasts."""
        return standing_still(self._pid)

    def remove_all(self) -> None:
        """Remove all containers."""
        if containers := self("ps", "--all", "--quiet").split():
            self("rm", "--force", *containers)

    @contextmanager
    def running(self) -> Iterator[Docker]:
        """Run both daemons until the context ends, and remove all containers then."""
        below = self.directory / "containerd"
        (below / "config.toml").write_text(_CONTAINERD.format(below))
        containerd = self._place.inside("containerd", f"--config={below / 'config.toml'}")
        dockerd = self._place.inside(
            "dockerd",
            f"--config-file={self.directory / 'daemon.json'}",
            f"--data-root={self.directory / 'data'}",
            f"--exec-root={self.directory / 'exec'}",
            f"--pidfile={self.directory / 'pid'}",
            f"--host=unix://{self.socket}",
            f"--containerd={below / 'containerd.sock'}",
            "--storage-driver=vfs",
        )
        (self.directory / "daemon.json").write_text("{}")
        with (
            daemon(containerd, below / "log", below / "containerd.sock"),
            daemon(dockerd, self.directory / "log", self.socket) as self._pid,
        ):
            try:
                self("import", str(self._place.image()), IMAGE)
                yield self
            finally:
                self.remove_all()
