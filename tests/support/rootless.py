"""Rootless podman as a user of the tests: with ids, directories and images of its own, and without a login.

The user exists only in an /etc of the test (`own_etc`). Its containers have a root file system with busybox, which is a
plain directory, so no image is made or pulled.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.own_etc import own_etc
from support.users import GROUP, USER
from support.waiting import wait_until

_FIRST_SUBORDINATE = 1_700_000_000
_SUBORDINATES = 65536
_COMMANDS = ("podman", "newuidmap", "newgidmap", "setpriv", "busybox", "runc", "slirp4netns")
_TIMEOUT_S = 120


class Rootless:
    """The podman of USER. `environment` is for every program that asks it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runtime = home / "run"
        self.rootfs = home / "rootfs"
        self.environment = {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "TMPDIR": str(home),
        }
        self._service: subprocess.Popen[bytes] | None = None
        self._write_configuration()
        self._make_rootfs()
        subprocess.run(["chown", "-R", f"{USER}:{GROUP}", str(home)], check=True)
        self.runtime.chmod(0o700)

    def _write_configuration(self) -> None:
        files = {
            "storage.conf": '[storage]\ndriver = "vfs"\n',
            "containers.conf": '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n'
            '[containers]\nlog_driver = "k8s-file"\n',
        }
        directory = self.home / ".config/containers"
        directory.mkdir(parents=True)
        for name, text in files.items():
            (directory / name).write_text(text)
        self.runtime.mkdir()

    def _make_rootfs(self) -> None:
        busybox = shutil.which("busybox")
        assert busybox is not None
        for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "www"):
            (self.rootfs / name).mkdir(parents=True)
        shutil.copy(busybox, self.rootfs / "bin/busybox")
        for applet in ("sh", "sleep", "httpd", "cat", "nslookup"):
            (self.rootfs / "bin" / applet).symlink_to("busybox")

    def command(self, *args: str) -> list[str]:
        """Return the command that runs podman as this user."""
        return ["setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--inh-caps=-all", "podman", *args]

    def __call__(self, *args: str, check: bool = True) -> str:
        """Run podman, and return its output."""
        done = subprocess.run(
            self.command(*args), env=self.environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, timeout=_TIMEOUT_S,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"podman {' '.join(args)}: {done.stderr}")
        return done.stdout.strip()

    def run(self, name: str, *options: str, page: str = "") -> None:
        """Start a container with a web server that serves its own name, or `page`."""
        text = page or name
        serve = f"echo {text} > /www/index.html && exec httpd -f -p 80 -h /www"
        options = ("--tmpfs", "/www", *options)
        self("run", "--detach", "--name", name, *options, "--rootfs", str(self.rootfs), "/bin/sh", "-c", serve)

    def inspect(self, name: str) -> dict[str, Any]:
        """Return podman's own description of a container."""
        (found,) = json.loads(self("container", "inspect", name))
        return dict(found)

    def serve(self) -> None:
        """Start the service, at the socket that the user's systemd has for it."""
        path = self.runtime / "podman/podman.sock"
        if not path.parent.exists():
            path.parent.mkdir()
            os.chown(path.parent, USER, GROUP)
        command = self.command("system", "service", "--time=0", f"unix://{path}")
        self._service = subprocess.Popen(command, env=self.environment, cwd="/", stdin=subprocess.DEVNULL)
        wait_until(path.exists)

    def stop_service(self) -> None:
        if self._service is not None:
            self._service.terminate()
            self._service.wait()
            self._service = None
            (self.runtime / "podman/podman.sock").unlink(missing_ok=True)

    def close(self) -> None:
        self.stop_service()
        self("rm", "--all", "--force", "--time=0", check=False)
        self("network", "prune", "--force", check=False)
        for pid in self._left():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self._left())
        subprocess.run(["rm", "-rf", str(self.home)], check=False)

    def _left(self) -> list[int]:
        """List the processes of the user that belong to this podman, for example the one that keeps its namespaces."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if f"HOME={self.home}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(int(pid))
            except OSError:
                continue
        return [pid for pid in found if pid != os.getpid()]


def why_not(commands: Sequence[str] = _COMMANDS) -> str:
    """Return why rootless podman can't run here, or ""."""
    if os.geteuid() != 0:
        return "only root can make users"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in commands if shutil.which(name, path=path) is None]
    return f"there is no {', '.join(missing)}" if missing else ""


def _open_tun(directory: Path) -> None:
    """Let every user open /dev/net/tun, as udev does, where it did not. Only the test's mount namespace sees this."""
    tun = Path("/dev/net/tun")
    if tun.exists() and not tun.stat().st_mode & stat.S_IWOTH:
        own = directory / "tun"
        os.mknod(own, stat.S_IFCHR, tun.stat().st_rdev)
        own.chmod(0o666)
        subprocess.run(["mount", "--bind", str(own), str(tun)], check=True)


@contextmanager
def rootless_podman() -> Iterator[Rootless]:
    """Give USER a podman of its own. It ends, with all its containers, with the context."""
    if reason := why_not():
        pytest.skip(reason)
    with own_etc() as etc:
        name = f"rootless{os.getpid()}"
        home = Path(tempfile.mkdtemp(prefix="nsbroker-test-podman-"))
        home.chmod(0o755)
        with (etc / "passwd").open("a") as file:
            file.write(f"{name}:x:{USER}:{GROUP}::{home}:/bin/sh\n")
        for file_name in ("subuid", "subgid"):
            with (etc / file_name).open("a") as file:
                file.write(f"{name}:{_FIRST_SUBORDINATE}:{_SUBORDINATES}\n")
        _open_tun(home)
        podman = Rootless(home)
        try:
            yield podman
        finally:
            podman.close()
