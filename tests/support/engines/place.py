"""A place for real engines: a directory, an image, and a network namespace that is the engines' host.

Bridges, addresses and firewall rules of the engines are in that namespace, and go with it. So they meet neither those
of the machine nor those of another test run. An engine that runs there takes it for the host's namespace.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nsbrokerd.namespaces.file_identity import Identity, identify
from support import namespaces
from support.inside import path_of
from support.waiting import wait_until

BUSYBOX = "/bin/busybox"
IMAGE = "nsbroker-test"

PATIENCE_S = 60
"""Seconds in which an engine answers on a busy machine."""

ROOT = os.environ.get("NSBROKER_ENGINES_ROOT", "")
"""A directory with another Debian, whose engines are to be tested: tests/engines/root makes one. Otherwise ""."""

_END_S = 30


class Place(NamedTuple):
    """Where the engines of a test run are."""

    namespace: str
    """The name of the network namespace that the engines take for the host's."""

    directory: Path
    """Its path is short, because sockets are in it."""

    mounts: int | None = None
    """The pid of a process whose mount namespace has ROOT as its root directory."""

    @property
    def home(self) -> Identity:
        """The identity of the engines' host namespace, for `Engines`."""
        fd = os.open(path_of(self.namespace), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return identify(fd)
        finally:
            os.close(fd)

    def inside(self, *command: str) -> list[str]:
        """Return a command that runs in the network namespace. Its root directory is ROOT, or that of the machine."""
        mounts = [f"--mount=/proc/{self.mounts}/ns/mnt"] if self.mounts else []
        return self._enter(*mounts, "--", *command)

    def beside(self, *command: str) -> list[str]:
        """Return a command that runs in the network namespace, with the root directory of the machine."""
        return self._enter("--", *command)

    def _enter(self, *arguments: str) -> list[str]:
        return ["nsenter", f"--net={path_of(self.namespace)}", *arguments]

    def image(self) -> Path:
        """Return a tar file of a root directory with busybox."""
        path = self.directory / "image.tar"
        with tarfile.open(path, "w") as tar:
            for directory in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "www"):
                entry = tarfile.TarInfo(directory)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            content = Path(BUSYBOX).read_bytes()
            entry = tarfile.TarInfo("bin/busybox")
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
            for applet in ("sh", "sleep", "cat", "ip", "httpd", "nslookup", "wget", "nc", "true", "ls", "echo"):
                entry = tarfile.TarInfo(f"bin/{applet}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        return path


@contextmanager
def engine_place() -> Iterator[Place]:
    """Make a place, and remove it with all of its mounts."""
    place = Place(f"{namespaces.PREFIX}engines", Path(tempfile.mkdtemp(prefix="nsbt", dir="/tmp")))
    namespaces.make(place.namespace)
    try:
        place.directory.chmod(0o755)
        with _mounts_of(str(place.directory)), _shown_below_root(str(place.directory)) as mounts:
            yield place._replace(mounts=mounts)
    finally:
        shutil.rmtree(place.directory, ignore_errors=True)
        namespaces.delete(place.namespace)


@contextmanager
def _mounts_of(directory: str) -> Iterator[None]:
    """Make a directory a mount of its own, and take it away with all mounts below it.

    It is private before: otherwise the mounts of the machine that it shows would go as well.
    """
    _mount("--bind", directory, directory)
    try:
        _mount("--make-private", directory)
        yield
    finally:
        _mount("--make-rprivate", directory)
        subprocess.run(["umount", "--lazy", directory], check=True)


@contextmanager
def _shown_below_root(directory: str) -> Iterator[int | None]:
    """Let the programs below ROOT see this directory, the namespaces, and the file systems of the kernel.

    Namespaces that they mount show outside of ROOT, too. Yield the pid of a process with ROOT as its root directory.
    """
    _mount("--make-shared", directory)
    if not ROOT:
        yield None
        return
    with _mounts_of(ROOT):
        for place in ("/proc", "/sys", "/dev"):
            _mount("--rbind", place, f"{ROOT}{place}")
            _mount("--make-rslave", f"{ROOT}{place}")
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{ROOT}/run")
        for place in ("/run/netns", directory):
            Path(f"{ROOT}{place}").mkdir()
            _mount("--rbind", place, f"{ROOT}{place}")
        try:
            with _process_below_root() as pid:
                yield pid
        finally:
            subprocess.run(["umount", "--lazy", f"{ROOT}{directory}"], check=True)
            Path(f"{ROOT}{directory}").rmdir()


@contextmanager
def _process_below_root() -> Iterator[int]:
    """Run a process in a mount namespace of its own, whose root is ROOT, and yield its pid.

    With chroot(2) instead, `podman exec` would run in the root of the machine.
    """
    script = f"mount --make-private $(findmnt -n -o TARGET --target {ROOT}/..) && cd {ROOT} && pivot_root . mnt"
    unshare = ("unshare", "--mount", "--propagation", "unchanged")
    command = [*unshare, "sh", "-c", f"{script} && echo && exec sleep infinity"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.read(1) == b"\n", f"{ROOT} can't be a root directory"
            yield process.pid
        finally:
            process.kill()


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


@contextmanager
def daemon(command: list[str], log: Path, ready: Path, environment: dict[str, str] | None = None) -> Iterator[int]:
    """Run a daemon until the context ends, and yield its pid. It is ready when its socket takes connections."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(environment or {})}
        )
    try:
        wait_until(lambda: process.poll() is not None or _listens(ready))
        assert process.poll() is None, f"{command} has ended:\n{log.read_text()}"
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """Stop a process while the context lasts. The kernel still takes connections for it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0
