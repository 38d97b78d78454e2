"""The DaemonSet of deploy/kubernetes on a real containerd, with the settings that a kubelet takes from it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nsbroker import Client, SocketSpec
from nsbroker.wire import OpenReply, OpenRequest
from support.brokers.raw_client import RawClient
from support.engines.place import ROOT
from support.inside import cookie_here, cookie_inside, enter, netns_cookie
from support.kustomize import SETUP, build, daemon_set
from support.pods.containerd import PAGE, Containerd
from support.pods.kubelet import Kubelet
from support.users import as_user
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    bool(ROOT), reason="the pods run this machine's Python, which another Debian's root lacks"
)

BROKER = "nsbroker.broker"
OVERLAY = SETUP / "overlays" / "containerd"


@pytest.fixture
def socket_directory(containerd: Containerd, tmp_path: Path) -> Path:
    directory = containerd.directory / tmp_path.name
    directory.mkdir()
    return directory


@pytest.fixture
def kubelet(containerd: Containerd, socket_directory: Path) -> Kubelet:
    files = socket_directory / "kubelet"
    files.mkdir()
    places = {
        "/run/nsbroker": socket_directory,
        "nsbroker-socket": socket_directory,
        "/run/containerd": containerd.directory,
        "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes": containerd.sandboxes,
    }
    return Kubelet(containerd, files, places)


def pod_of(kind: str, directory: Path) -> dict[str, Any]:
    """The specification of the pod of a DaemonSet or of a pod alone."""
    objects, _ = build(directory)
    if kind == "DaemonSet":
        spec: dict[str, Any] = daemon_set(objects)["spec"]["template"]["spec"]
        return spec
    (pod,) = [found for found in objects if found["kind"] == kind]
    found: dict[str, Any] = pod["spec"]
    return found


def start_broker(
    containerd: Containerd, kubelet: Kubelet, texts: dict[str, str], spec: dict[str, Any] | None = None
) -> str:
    """Start the broker's pod. Wait until its probe finds it ready, and return the id of its container."""
    spec = spec or pod_of("DaemonSet", OVERLAY)
    kubelet.write_config_map(texts)
    broker = kubelet.start(BROKER, spec)
    probe = spec["containers"][0]["readinessProbe"]["exec"]["command"]

    def is_ready() -> bool:
        assert containerd.exit_status(broker) is None, kubelet.log(BROKER)
        return containerd.execute(broker, probe)[0] == 0

    wait_until(is_ready)
    return broker


def test_broker_serves_namespaces_that_are_named_later(
    containerd: Containerd, kubelet: Kubelet, socket_directory: Path, make_namespace: Callable[..., str]
) -> None:
    """With a read-only root, and the seven capabilities. It stops when it is told to."""
    grant = '[[grant]]\nname = "g"\nusers = [0]\nnamespaces = ["*"]\nsockets = ["udp"]\n'
    texts = build(OVERLAY)[1] | {"grants.toml": grant, "nsbrokerd.toml": ""}
    broker = start_broker(containerd, kubelet, texts)
    status = (socket_directory / "nsbroker.sock").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 7613, 0o660)
    name = make_namespace()
    with RawClient(str(socket_directory / "nsbroker.sock")) as client:
        reply = client.ask(OpenRequest(1, (SocketSpec(name, int(socket.AF_INET), int(socket.SOCK_DGRAM)),)))
        assert isinstance(reply, OpenReply), reply
        with socket.socket(fileno=client.fds.pop()) as sock:
            assert netns_cookie(sock) == cookie_inside(name)
    liveness = pod_of("DaemonSet", OVERLAY)["containers"][0]["livenessProbe"]["exec"]["command"]
    assert containerd.execute(broker, liveness)[0] == 0
    containerd.stop_container(broker, 30)
    assert containerd.exit_status(broker) == 0


def test_client_of_the_example_reaches_another_pod(containerd: Containerd, kubelet: Kubelet) -> None:
    """It is an unprivileged user in a pod of its own. The other pod answers on its loopback."""
    start_broker(containerd, kubelet, build(OVERLAY)[1])
    containerd.run_server("shop.web-0")
    client = kubelet.start("probe.client", pod_of("Pod", SETUP / "example"))
    wait_until(lambda: containerd.exit_status(client) is not None)
    assert kubelet.log("probe.client").endswith(PAGE.decode().strip())
    assert containerd.exit_status(client) == 0


def test_client_of_the_example_is_refused_at_other_pods(containerd: Containerd, kubelet: Kubelet) -> None:
    start_broker(containerd, kubelet, build(OVERLAY)[1])
    containerd.run_pod("default.web-0")
    spec = pod_of("Pod", SETUP / "example")
    spec["containers"][0]["args"][0] = spec["containers"][0]["args"][0].replace("pod:shop.web-0", "pod:default.web-0")
    client = kubelet.start("probe.client", spec)
    wait_until(lambda: containerd.exit_status(client) is not None)
    assert "no grant of uid 10001 covers namespace 'pod:default.web-0'" in kubelet.log("probe.client")


def test_look_ups_in_a_pod_use_its_own_file(containerd: Containerd, kubelet: Kubelet, socket_directory: Path) -> None:
    """The broker reads the runtime's file for the pod, with its capabilities, from the directory that is mounted."""
    spec = pod_of("DaemonSet", OVERLAY)
    (mount,) = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "pod-files"]
    mount["mountPath"] = str(containerd.sandboxes)  # where this containerd has its files
    grant = '[[grant]]\nname = "g"\nusers = [0]\nnamespaces = ["pod:*"]\nsockets = ["udp"]\n'
    start_broker(containerd, kubelet, build(OVERLAY)[1] | {"grants.toml": grant}, spec)
    containerd.run_pod("shop.web-0", server="192.0.2.7")
    with Client(str(socket_directory / "nsbroker.sock")) as client:
        files = client.resolver_files("pod:shop.web-0")
    assert "nameserver 192.0.2.7\n" in files.resolv_conf


def test_broker_finds_a_runtime_that_started_again(
    containerd: Containerd, kubelet: Kubelet, socket_directory: Path
) -> None:
    """The runtime makes a new socket, in the directory that the broker's container has."""
    grant = '[[grant]]\nname = "g"\nusers = [0]\nnamespaces = ["pod:*"]\nsockets = ["udp"]\n'
    start_broker(containerd, kubelet, build(OVERLAY)[1] | {"grants.toml": grant})
    sandbox_id = containerd.run_pod("shop.web-0")
    containerd.stop()
    containerd.socket.unlink(missing_ok=True)
    containerd.start()
    with Client(str(socket_directory / "nsbroker.sock")) as client:
        (sock,) = client.open([SocketSpec("pod:shop.web-0", int(socket.AF_INET), int(socket.SOCK_DGRAM))])
    with sock, open(f"/proc/{containerd.pid_of(sandbox_id)}/ns/net", "rb") as namespace:
        expected = as_user(0, 0, cookie_after, namespace.fileno())
        assert netns_cookie(sock) == expected


def cookie_after(fd: int) -> int:
    """The cookie of the namespace of a descriptor, which this process enters for good."""
    enter(fd)
    return cookie_here()
