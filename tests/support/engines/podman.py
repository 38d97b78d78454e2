"""A podman of root, with its own storage, networks and socket."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from .place import IMAGE, Place, daemon, standing_still

_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"

[network]
network_backend = "netavark"
"""


class Podman:
    """The service, and the command that manages its containers."""

    engine = "podman"
    """Its word of `nsbrokerd.policy.engine_names.ENGINES`."""

    infra: tuple[str, ...] = (f"--infra-image={IMAGE}", "--infra-command=sleep 100000")
    """Options of a pod, whose first container keeps its network."""

    def __init__(self, place: Place) -> None:
        self.directory = place.directory / "podman"
        self.directory.mkdir()
        self.socket = self.directory / "podman.sock"
        self._environment = {"CONTAINERS_CONF": str(self.directory / "containers.conf")}
        (self.directory / "containers.conf").write_text(_CONFIGURATION)
        options = {"root": "root", "runroot": "run", "tmpdir": "tmp", "network-config-dir": "net"}
        places = [f"--{option}={self.directory / name}" for option, name in options.items()]
        self._command = place.inside("podman", *places, "--storage-driver=vfs")
        self._place = place

    def __call__(self, *arguments: str) -> str:
        """Run `podman ARGUMENT...`, which must succeed, and return its output."""
        return self.run(*arguments, check=True).stdout.strip()

    def run(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run `podman ARGUMENT...`."""
        done = subprocess.run(
            [*self._command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **self._environment},
        )
        assert not check or done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
        return done

    def start(self, name: str, *options: str, command: tuple[str, ...] = ("sleep", "100000")) -> str:
        """Start a container that waits, and return its id."""
        return self("run", "--detach", "--stop-timeout=0", f"--name={name}", *options, IMAGE, *command)

    def inspect(self, name: str) -> Any:
        """Return what the command knows about a container."""
        return json.loads(self("container", "inspect", name))[0]

    def version(self) -> str:
        return self("version", "--format={{.Client.Version}}")

    def standing_still(self) -> AbstractContextManager[None]:
        """Let the service answer no more while the context lasts."""
        return standing_still(self._pid)

    def remove_all(self) -> None:
        """Remove all pods and containers."""
        self("pod", "rm", "--all", "--force", "--time=0")
        # The first time, containers whose network others have may be left.
        self.run("rm", "--all", "--force", "--time=0")
        self("rm", "--all", "--force", "--time=0")

    @contextmanager
    def running(self) -> Iterator[Podman]:
        """Run the service until the context ends, and remove all containers then."""
        service = [*self._command, "system", "service", "--time=0", f"unix://{self.socket}"]
        with daemon(service, self.directory / "log", self.socket, self._environment) as self._pid:
            try:
                self("import", str(self._place.image()), IMAGE)
                yield self
            finally:
                self.remove_all()
