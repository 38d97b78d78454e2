"""A broker in a container, with the options of deploy/docs/containers.md, and its files in a directory of the test."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from support.brokers.raw_client import RawClient
from support.documents import examples
from support.unified_podman import UnifiedPodman
from support.users import GROUP
from support.waiting import wait_until


def documented_options() -> list[str]:
    """Return the options of the command in deploy/docs/containers.md, each with its value."""
    [example] = examples("sh image run")
    words = shlex.split(example.text.replace("\\\n", ""))
    assert words[:5] == ["podman", "run", "--detach", "--name", "nsbrokerd"]
    assert words[-1] == "localhost/nsbroker"
    assert "--read-only" in words
    return [word for word in words[5:-1] if word != "--read-only"]


class ContainerBroker:
    """`nsbrokerd serve` in a container. `podman` starts and stops it."""

    def __init__(self, podman: UnifiedPodman, image: str, grants: str) -> None:
        self.podman = podman
        self.image = image
        self.directory = Path(tempfile.mkdtemp(prefix="nsbroker-test-"))
        self.directory.chmod(0o755)
        self.name = self.directory.name
        self.run_directory, self.etc = self.directory / "run", self.directory / "etc"
        for each in (self.run_directory, self.etc):
            each.mkdir(mode=0o755)
        self.socket_path = self.run_directory / "nsbroker.sock"
        self.seal_path = Path("/sys/fs/bpf", self.name)
        self.configure(grants)

    def configure(self, grants: str) -> None:
        """Write the configuration."""
        head = f'[broker]\nsocket_group = "nogroup"\nseal = "{self.seal_path}"\n\n[audit]\npath = "/audit/json"\n'
        (self.etc / "nsbrokerd.toml").write_text(f"{head}\n{grants}\n")
        (self.directory / "audit").mkdir(exist_ok=True)

    def options(self, *options: str, without: tuple[str, ...] = (), capabilities: str | None = None) -> list[str]:
        """Return the options of `podman run` that the document shows, with the places of this test.

        Args:
            options: further ones.
            without: places on the host that the container does not get.
            capabilities: those that it gets, if not those of the document.
        """
        places = {"/run/nsbroker": self.run_directory, "/etc/nsbroker": self.etc}
        found = []
        words = documented_options()
        if not self.podman.has_controller("pids"):
            at = words.index("--pids-limit")
            del words[at : at + 2]
        for option, value in zip(words[::2], words[1::2], strict=True):
            if option == "-v":
                host, rest = value.split(":", 1)
                found += [] if host in without else [option, f"{places.get(host, host)}:{rest}"]
            elif option == "--cap-add":
                found += [option, capabilities or value]
            else:
                found += [option, value]
        found.append(f"--volume={self.directory / 'audit'}:/audit")
        return [*found, "--read-only", *options]

    def start(self, *options: str, **also: Any) -> None:
        """Start it, and wait until it serves."""
        self.podman("run", "--detach", f"--name={self.name}", *self.options(*options, **also), self.image)
        wait_until(self._is_up)

    def run(self, *command: str, options: tuple[str, ...] = (), **also: Any) -> tuple[int, str]:
        """Run a command in a container of its own. Return its status and all that it printed."""
        done = self.podman.run("run", "--rm", *self.options(*options, **also), self.image, *command)
        return done.returncode, done.stdout + done.stderr

    def _is_up(self) -> bool:
        state = self.podman.run("inspect", "--format={{.State.Running}}", self.name).stdout.strip()
        assert state == "true", self.log()
        return '"event": "serving"' in self.log()

    def client(self) -> RawClient:
        """Connect as root, who is in the group of the socket."""
        return RawClient(str(self.socket_path))

    def log(self) -> str:
        """All that it said on standard error."""
        done = self.podman.run("logs", self.name)
        return done.stdout + done.stderr

    def execute(self, *command: str) -> str:
        """Run a command in the container, which must succeed."""
        return self.podman("exec", self.name, *command)

    def stop(self) -> None:
        """Stop and remove it, as an administrator does."""
        self.podman("stop", self.name)
        self.podman("rm", self.name)

    def close(self) -> None:
        """Remove everything."""
        self.podman.run("rm", "--force", "--time=0", self.name)
        shutil.rmtree(self.directory)
        shutil.rmtree(self.seal_path, ignore_errors=True)


def owner_of(path: Path) -> tuple[int, int]:
    """Return user and group of a file, which must be those of the tests' clients."""
    status = os.stat(path)
    return status.st_uid, status.st_gid


CLIENTS = (0, GROUP)
