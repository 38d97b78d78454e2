"""Pods of a real containerd, made as a kubelet makes them: the broker's answer in every state of a pod."""

from __future__ import annotations

import os
import signal
import socket

import pytest
import trio

from nsbrokerd.namespaces.engines import Container, EngineError, Engines
from nsbrokerd.namespaces.file_identity import Identity, identify
from nsbrokerd.policy.engine_names import EngineName
from support.engines.place import Place
from support.inside import enter
from support.pods.containerd import PAGE, PORT, Containerd
from support.users import as_user
from support.waiting import wait_until

POD = "default.web-0"


@pytest.fixture
def pod_engine(containerd: Containerd, engine_host: Place) -> Engines:
    return Engines({"pod": containerd.socket}, engine_host.home)


def find(engines: Engines, name: str = POD, *, with_files: bool = False) -> tuple[Container, Identity]:
    """The broker's answer, and the identity of the namespace that it has opened."""

    async def ask() -> Container:
        return await engines.find(EngineName("pod", name), with_files=with_files)

    container = trio.run(ask)
    try:
        return container, identify(container.fd)
    finally:
        os.close(container.fd)


def refusal(engines: Engines, name: str = POD) -> str:
    """The kind of the error."""
    with pytest.raises(EngineError) as raised:
        find(engines, name)
    return raised.value.kind


def of_process(pid: int) -> Identity:
    """The identity of a process' network namespace."""
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        return identify(fd)
    finally:
        os.close(fd)


def test_ready_pod_is_found_with_its_namespace(containerd: Containerd, pod_engine: Engines) -> None:
    sandbox_id = containerd.run_pod(POD)
    container, namespace = find(pod_engine)
    assert container.id == sandbox_id
    assert namespace == of_process(containerd.pid_of(sandbox_id))


def page_inside(fd: int) -> bytes:
    """Fetch the page from the loopback of a namespace, for good."""
    enter(fd)
    with socket.create_connection(("127.0.0.1", PORT)) as conn:
        conn.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return conn.makefile("rb").read()


def test_socket_in_the_namespace_reaches_the_pod(containerd: Containerd, pod_engine: Engines) -> None:
    containerd.run_server(POD)

    async def ask() -> Container:
        return await pod_engine.find(EngineName("pod", POD))

    container = trio.run(ask)
    try:
        assert as_user(0, 0, page_inside, container.fd).endswith(PAGE)
    finally:
        os.close(container.fd)


def test_pods_of_one_name_in_two_namespaces_of_kubernetes_are_two(containerd: Containerd, pod_engine: Engines) -> None:
    ids = [containerd.run_pod(name) for name in (POD, "shop.web-0", "shop.web-0.example")]
    found = [find(pod_engine, name)[0].id for name in (POD, "shop.web-0", "shop.web-0.example")]
    assert found == ids


def test_look_ups_use_the_file_that_the_runtime_made_for_the_pod(containerd: Containerd, pod_engine: Engines) -> None:
    containerd.run_pod(POD, server="192.0.2.7")
    container, _ = find(pod_engine, with_files=True)
    assert container.resolv_conf is not None
    assert "nameserver 192.0.2.7\n" in container.resolv_conf
    assert container.hosts is None


def test_id_of_a_pod_is_no_name(containerd: Containerd, pod_engine: Engines) -> None:
    sandbox_id = containerd.run_pod(POD)
    for name in (sandbox_id, f"default.{sandbox_id}", f"default.{sandbox_id[:12]}", "default.web", "efault.web-0"):
        assert refusal(pod_engine, name) == "no-such-container"


def test_pod_that_never_was(containerd: Containerd, pod_engine: Engines) -> None:
    assert refusal(pod_engine) == "no-such-container"


def test_stopped_pod_does_not_run_and_a_removed_one_is_gone(containerd: Containerd, pod_engine: Engines) -> None:
    sandbox_id = containerd.run_pod(POD)
    containerd.stop_pod(sandbox_id)
    assert refusal(pod_engine) == "not-running"
    containerd.remove_pod(sandbox_id)
    assert refusal(pod_engine) == "no-such-container"


def test_pod_whose_process_was_killed_does_not_run(containerd: Containerd, pod_engine: Engines) -> None:
    """Its network namespace is still there, until the kubelet removes the pod."""
    sandbox_id = containerd.run_pod(POD)
    os.kill(containerd.pid_of(sandbox_id), signal.SIGKILL)

    kinds: list[str] = []

    def is_noticed() -> bool:
        try:
            find(pod_engine)
        except EngineError as error:
            kinds.append(error.kind)
        return bool(kinds)

    wait_until(is_noticed)
    assert kinds == ["not-running"]


def test_pod_that_started_again_has_its_new_namespace(containerd: Containerd, pod_engine: Engines) -> None:
    """The kubelet stops the former sandbox, and keeps it for a while."""
    former = containerd.run_pod(POD)
    assert find(pod_engine)[0].id == former
    containerd.stop_pod(former)
    again = containerd.run_pod(POD, attempt=1)
    container, second = find(pod_engine)
    assert container.id == again
    assert second == of_process(containerd.pid_of(again))
    containerd.remove_pod(former)
    assert find(pod_engine)[1] == second


def test_two_ready_sandboxes_of_a_pod_are_refused(containerd: Containerd, pod_engine: Engines) -> None:
    first, second = containerd.run_pod(POD), containerd.run_pod(POD, attempt=1)
    assert refusal(pod_engine) == "several"
    containerd.stop_pod(first)
    assert find(pod_engine)[0].id == second


def test_pod_in_the_network_of_the_host_is_refused(containerd: Containerd, pod_engine: Engines) -> None:
    containerd.run_pod(POD, host_network=True)
    assert refusal(pod_engine) == "host-network"


def test_hung_runtime_is_unavailable_and_answers_afterwards(containerd: Containerd, pod_engine: Engines) -> None:
    sandbox_id = containerd.run_pod(POD)
    with containerd.standing_still():
        assert refusal(pod_engine) == "unavailable"
    assert find(pod_engine)[0].id == sandbox_id


def test_pods_outlive_their_runtime(containerd: Containerd, pod_engine: Engines) -> None:
    sandbox_id = containerd.run_pod(POD)
    _, namespace = find(pod_engine)
    containerd.stop()
    try:
        assert refusal(pod_engine) == "unavailable"
    finally:
        containerd.start()
    container, found = find(pod_engine)
    assert (container.id, found) == (sandbox_id, namespace)


def test_running_pods_are_listed(containerd: Containerd, pod_engine: Engines) -> None:
    stopped = containerd.run_pod("default.old")
    for name in ("shop.b", POD):
        containerd.run_pod(name)
    containerd.stop_pod(stopped)
    assert trio.run(pod_engine.running, "pod") == [POD, "shop.b"]


def test_check_tells_the_runtime_and_its_version(containerd: Containerd, pod_engine: Engines) -> None:
    answer = trio.run(pod_engine.check, "pod")
    assert answer.startswith("containerd ")
    assert answer.endswith(f" answers at {containerd.socket}")
