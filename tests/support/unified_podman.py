"""A podman of root on a host whose control groups are all of version 2, as on Debian since 11.

It has a mount namespace of its own, so this works beside control groups of version 1, and on a host whose mounts get to
no other namespace. Storage, state and hooks are in a directory of the test.
"""

from __future__ import annotations

import copy
import os
import resource
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nsbrokerd.sockets.capabilities import read_own
from support.checkout import CHECKOUT

_CONFIGURATION = """
[containers]
pids_limit = 0
default_ulimits = ["nofile={0}:{0}", "nproc={1}:{1}"]
log_driver = "k8s-file"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""

# Its /run/netns is a slave of the host's, whether the host's is shared yet or not.
_MOUNTS = """
mount --make-rslave /
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mountpoint -q /sys/fs/bpf || mount -t bpf none /sys/fs/bpf
echo
exec cat
"""

_CAP_SYS_RESOURCE = 24
_MOST = 16384
"""Files and processes. Any process may lower its limits to this."""

_PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class UnifiedPodman:
    """The command podman."""

    def __init__(self, directory: Path, host: int, runtime: str) -> None:
        """Run podman in the mount namespace of the process `host`, with an OCI runtime such as crun."""
        self.directory = directory
        self.runtime = runtime
        self.names = Path(f"/proc/{host}/root/run/netns")
        """The directory of names as podman sees it, and its hooks."""

        # Without CAP_SYS_RESOURCE, as in some virtual machines, podman's own limits would be too high.
        limits = [min(_MOST, resource.getrlimit(one)[1]) for one in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)]
        (directory / "containers.conf").write_text(_CONFIGURATION.format(*limits))
        (directory / "hooks").mkdir(exist_ok=True)
        places = [f"--{option}={directory / option}" for option in ("root", "runroot", "tmpdir")]
        hooks = f"--hooks-dir={directory / 'hooks'}"
        self.on_host = ["nsenter", f"--mount=/proc/{host}/ns/mnt", "--"]
        self.command = [*self.on_host, "/usr/bin/podman", *places, hooks, "--storage-driver=overlay"]

    def with_runtime(self, runtime: str) -> UnifiedPodman:
        """Return the same podman with another OCI runtime."""
        other = copy.copy(self)
        is_limited = runtime == "crun" and not read_own().effective_low >> _CAP_SYS_RESOURCE & 1
        other.runtime = _runtime_without_limits(self.directory, runtime) if is_limited else runtime
        return other

    def has_controller(self, name: str) -> bool:
        """Return whether the control groups of version 2 have this controller, which those of version 1 can occupy."""
        command = [*self.on_host, "cat", "/sys/fs/cgroup/cgroup.controllers"]
        return name in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    @property
    def full_command(self) -> list[str]:
        """The command, with its options for all subcommands."""
        return [*self.command, f"--runtime={self.runtime}"]

    def __call__(self, *arguments: str) -> str:
        """Run `podman ARGUMENT...`, which must succeed, and return its output."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `podman ARGUMENT...`."""
        return subprocess.run(
            [*self.full_command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **self.environment},
        )

    def build(self, command: list[str], base: str, wheels: Path) -> None:
        """Build an image offline by a command that calls podman."""
        options = ["--layers=false", "--isolation=chroot", "--network=host", "--format=oci"]
        wrapper = self.directory / "bin" / "podman"
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(self.command)} "$@"\n')
        wrapper.chmod(0o755)
        subprocess.run(
            [*command, "--base", base, "--wheels", wheels, "--", *options],
            cwd=CHECKOUT,
            env={**os.environ, **self.environment, "PATH": f"{wrapper.parent}:{_PATH['PATH']}"},
            check=True,
        )

    @property
    def environment(self) -> dict[str, str]:
        """The variables that podman needs."""
        return {**_PATH, "CONTAINERS_CONF": str(self.directory / "containers.conf")}


_NO_RISE = """
#include <sys/resource.h>
int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit) { return 0; }
int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit) { return 0; }
"""


def _runtime_without_limits(directory: Path, runtime: str) -> str:
    """Return a runtime that sets no limits of resources, for a machine whose root has no CAP_SYS_RESOURCE.

    crun raises RLIMIT_MEMLOCK for its BPF program. Kernels since 5.11 do not need this.
    """
    source, library, wrapper = (directory / name for name in ("limits.c", "limits.so", runtime))
    source.write_text(_NO_RISE)
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", library, source], check=True)
    wrapper.write_text(f'#!/bin/sh\nLD_PRELOAD={library} exec {runtime} "$@"\n')
    wrapper.chmod(0o755)
    return str(wrapper)


@contextmanager
def unified_podman(directory: Path, runtime: str = "crun") -> Iterator[UnifiedPodman]:
    """Have a podman until the context ends. Then all its containers are removed."""
    host = subprocess.Popen(
        ["unshare", "--mount", "--propagation=unchanged", "sh", "-c", _MOUNTS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert host.stdout is not None
        assert host.stdout.read(1) == b"\n"
        podman = UnifiedPodman(directory, host.pid, runtime).with_runtime(runtime)
        try:
            yield podman
        finally:
            podman.run("rm", "--all", "--force", "--time=0")
            # Layers are mounts in that namespace, which ends with its process.
            podman.run("rmi", "--all", "--force")
    finally:
        host.communicate()
