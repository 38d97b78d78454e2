"""A containerd of the test's own, with its CRI plugin, and a client that does what a kubelet does.

Its root, state, socket and configuration of CNI are in the place of the engines. The image is made here from busybox.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import trio

from nsbrokerd.namespaces.engines import grpc, protobuf
from support.adapters.programs import listens_on
from support.engines.place import BUSYBOX, Place, daemon, standing_still
from support.waiting import LIMIT_S, wait_until

CNI_PLUGINS = "/usr/lib/cni"
PORT = 8080
"""Of the web server in each pod, on all of the pod's addresses."""

PAGE = b"page of a pod\n"

_IMAGE = "localhost/nsbroker-pause:1"
_MAX_BYTES = 2**22
_HOST_NETWORK = 2
_EXITED = 2

_CONFIG = """
version = 2
root = "{directory}/root"
state = "{directory}/state"
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
address = "{socket}"

[debug]
address = ""

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
restrict_oom_score_adj = true
disable_apparmor = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{directory}/cni"
"""


class Containerd:
    """A containerd, whose CRI socket is at `socket`."""

    def __init__(self, place: Place) -> None:
        self.directory = place.directory / "pods"
        self.socket = self.directory / "containerd.sock"
        self.sandboxes = self.directory / "root" / "io.containerd.grpc.v1.cri" / "sandboxes"
        self.logs = self.directory / "pod-logs"
        self._place = place
        self._group = f"{place.namespace}-pods"
        self._daemon = ExitStack()
        self._pid = 0
        self._configs: dict[str, bytes] = {}
        """Configuration of each sandbox, by its id."""

    @contextmanager
    def running(self) -> Iterator[Containerd]:
        """Run it until the context ends, and remove all pods then."""
        (self.directory / "cni").mkdir(parents=True)
        self.logs.mkdir()
        (self.directory / "cni" / "10-pods.conflist").write_text(json.dumps(self._network()))
        values = {"directory": self.directory, "socket": self.socket, "image": _IMAGE, "plugins": CNI_PLUGINS}
        (self.directory / "config.toml").write_text(_CONFIG.format(**values))
        with self._shared(), self._daemon:
            self.start()
            archive = self.directory / "image.tar"
            archive.write_bytes(_image())
            command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", "images", "import"]
            subprocess.run([*command, "--snapshotter", "native", str(archive)], check=True, capture_output=True)
            # The CRI plugin hears of the image a moment later.
            wait_until(lambda: _IMAGE.encode() in self.call("ImageService/ListImages", b""))
            try:
                yield self
            finally:
                self.remove_all()
                self._remove_groups()

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """Let mounts below the directory get to other mount namespaces, as on every host with systemd."""
        subprocess.run(["mount", "--bind", self.directory, self.directory], check=True)
        subprocess.run(["mount", "--make-shared", self.directory], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", self.directory], check=True)

    def _remove_groups(self) -> None:
        """Remove the control group of all pods: of version 2, or one in each hierarchy of version 1."""
        for pattern in (self._group, f"*/{self._group}"):
            for path in Path("/sys/fs/cgroup").glob(pattern):
                path.rmdir()

    def _network(self) -> dict[str, object]:
        ipam = {
            "type": "host-local",
            "ranges": [[{"subnet": "10.83.0.0/24"}]],
            "dataDir": str(self.directory / "leases"),
        }
        bridge = {"type": "bridge", "bridge": "pods", "ipam": ipam}
        return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = self._place.inside("containerd", f"--config={self.directory / 'config.toml'}")
        self._pid = self._daemon.enter_context(daemon(command, self.directory / "log", self.socket))
        wait_until(self._is_ready)

    def stop(self) -> None:
        """End it. The pods go on."""
        self._daemon.close()

    def _is_ready(self) -> bool:
        try:
            status = protobuf.Message(self.call("RuntimeService/Status", b"")).message(1)
        except (OSError, grpc.AnswerError, grpc.StatusError):
            return False
        return all(condition.number(2) for condition in status.messages(1))

    def standing_still(self) -> AbstractContextManager[None]:
        """Let it answer no more while the context lasts. It still takes connections."""
        return standing_still(self._pid)

    def call(self, method: str, request: bytes) -> bytes:
        """Call a method of runtime.v1."""

        async def ask() -> bytes:
            with trio.fail_after(LIMIT_S):
                async with await trio.open_unix_socket(self.socket) as stream:
                    return await grpc.Connection(stream, _MAX_BYTES).call(f"/runtime.v1.{method}", request, LIMIT_S)

        return trio.run(ask)

    def run_pod(self, pod: str, attempt: int = 0, *, host_network: bool = False, server: str = "192.0.2.53") -> str:
        """Start a pod NAMESPACE.NAME, and return the id of its sandbox."""
        namespace, _, name = pod.partition(".")
        metadata = [protobuf.text(1, name), protobuf.text(2, f"uid-{pod}"), protobuf.text(3, namespace)]
        network = protobuf.number(1, _HOST_NETWORK if host_network else 0)
        config = [
            protobuf.message(1, *metadata, protobuf.number(4, attempt)),
            protobuf.text(3, str(self.logs)),
            protobuf.message(4, protobuf.text(1, server), protobuf.text(2, "svc.cluster.local")),
            protobuf.entry(6, "io.kubernetes.pod.name", name),
            protobuf.entry(6, "io.kubernetes.pod.namespace", namespace),
            protobuf.message(8, protobuf.text(1, f"/{self._group}"), protobuf.message(2, protobuf.message(1, network))),
        ]
        if not host_network:
            config.insert(1, protobuf.text(2, name.replace(".", "-")))
        request = protobuf.message(1, *config)
        sandbox_id = protobuf.Message(self.call("RuntimeService/RunPodSandbox", request)).text(1)
        self._configs[sandbox_id] = b"".join(config)
        return sandbox_id

    def run_server(self, pod: str) -> str:
        """Start a pod, and wait until its web server listens. Return the id of its sandbox."""
        sandbox_id = self.run_pod(pod)
        process = f"/proc/{self.pid_of(sandbox_id)}"
        wait_until(lambda: listens_on(process, [PORT]))
        return sandbox_id

    def start_container(self, sandbox_id: str, config: bytes) -> str:
        """Start a container of a pod, and return its id. The configuration is a ContainerConfig without its image."""
        image = protobuf.message(2, protobuf.text(1, _IMAGE))
        parts = [protobuf.message(2, config, image), protobuf.message(3, self._configs[sandbox_id])]
        answer = self.call("RuntimeService/CreateContainer", protobuf.text(1, sandbox_id) + b"".join(parts))
        container_id = protobuf.Message(answer).text(1)
        self.call("RuntimeService/StartContainer", protobuf.text(1, container_id))
        return container_id

    def stop_container(self, container_id: str, timeout_s: int) -> None:
        """Stop a container, as for the end of a pod."""
        self.call("RuntimeService/StopContainer", protobuf.text(1, container_id) + protobuf.number(2, timeout_s))

    def exit_status(self, container_id: str) -> int | None:
        """Return the exit status of a container, or None while it runs."""
        answer = self.call("RuntimeService/ContainerStatus", protobuf.text(1, container_id))
        status = protobuf.Message(answer).message(1)
        return status.number(7) if status.number(3) == _EXITED else None

    def execute(self, container_id: str, command: list[str]) -> tuple[int, str]:
        """Run a command in a container, as a probe does. Return its status and its output: -1 if it has ended."""
        words = b"".join(protobuf.text(2, word) for word in command)
        request = protobuf.text(1, container_id) + words + protobuf.number(3, 60)
        try:
            answer = self.call("RuntimeService/ExecSync", request)
        except grpc.StatusError as error:
            return -1, str(error)
        done = protobuf.Message(answer)
        return done.number(3), done.text(1) + done.text(2)

    def stop_pod(self, sandbox_id: str) -> None:
        """Stop a pod. Its sandbox stays in the list, and is not ready."""
        self.call("RuntimeService/StopPodSandbox", protobuf.text(1, sandbox_id))

    def remove_pod(self, sandbox_id: str) -> None:
        """Stop a pod, and forget it."""
        self.stop_pod(sandbox_id)
        self.call("RuntimeService/RemovePodSandbox", protobuf.text(1, sandbox_id))

    def pods(self) -> list[str]:
        """Return the ids of all sandboxes."""
        listed = protobuf.Message(self.call("RuntimeService/ListPodSandbox", b""))
        return [item.text(1) for item in listed.messages(1)]

    def pid_of(self, sandbox_id: str) -> int:
        """Return the pid of the process that holds the sandbox."""
        status = protobuf.Message(
            self.call("RuntimeService/PodSandboxStatus", protobuf.text(1, sandbox_id) + protobuf.number(2, 1))
        )
        return int(json.loads(status.entry(2, "info") or "{}")["pid"])

    def remove_all(self) -> None:
        """Remove all pods."""
        for sandbox_id in self.pods():
            with suppress(grpc.StatusError):
                self.remove_pod(sandbox_id)


def _image() -> bytes:
    """Make an image in docker's format, whose one process is a web server."""
    layer = _tar(
        {"bin/busybox": (Path(BUSYBOX).read_bytes(), 0o755), "www/index.html": (PAGE, 0o644)}, {"var/run": "/run"}
    )
    command = ["/bin/busybox", "httpd", "-f", "-p", str(PORT), "-h", "/www"]
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"Entrypoint": command},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [_IMAGE], "Layers": ["layer.tar"]}]
    parts = {
        "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
        "layer.tar": layer,
    }
    return _tar({name: (content, 0o644) for name, content in parts.items()})


def _tar(files: dict[str, tuple[bytes, int]], links: dict[str, str] | None = None) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return made.getvalue()
