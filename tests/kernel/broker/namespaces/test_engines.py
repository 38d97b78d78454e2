"""The path in an engine's answer is proven: it is a network namespace, and not the broker's own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nsbrokerd.namespaces.engines import EngineError, Engines
from nsbrokerd.namespaces.engines.answers import Kind
from nsbrokerd.namespaces.file_identity import Identity, identify
from nsbrokerd.policy.engine_names import EngineName
from support.engines.fake import ID, FakeEngine, container, fake_engine
from support.inside import path_of
from support.users import USER
from support.waiting import wait_until

WEB = EngineName("docker", "web")


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("container")


@pytest.fixture
def home() -> Identity:
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return identify(fd)
    finally:
        os.close(fd)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path / "engine.sock") as engine:
        yield engine


@pytest.fixture
def engines(fake: FakeEngine, home: Identity) -> Engines:
    return Engines({"docker": fake.path}, home)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Return the path of a file on which this one is mounted, as engines keep namespaces."""
    paths = []

    def mount(source: str) -> str:
        path = tmp_path / f"mounted{len(paths)}"
        path.touch()
        subprocess.run(["mount", "--bind", source, path], check=True)
        paths.append(path)
        return str(path)

    yield mount
    for path in paths:
        subprocess.run(["umount", "--lazy", path], check=True)


async def refusal(engines: Engines) -> EngineError:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(EngineError) as caught:
        await engines.find(WEB)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)  # the fake's own descriptors, too
    return caught.value


async def test_key_of_a_container_is_opened(name: str, fake: FakeEngine, engines: Engines) -> None:
    fake.add(container("web", key=path_of(name)))
    found = await engines.find(WEB)
    try:
        assert os.path.samestat(os.fstat(found.fd), os.stat(path_of(name)))
        assert not os.get_inheritable(found.fd)
        assert found == (WEB, ID, found.fd, None, None)
    finally:
        os.close(found.fd)


async def test_files_are_read_on_request(name: str, fake: FakeEngine, engines: Engines, tmp_path: Path) -> None:
    (tmp_path / ID).mkdir()
    resolv_conf, hosts = tmp_path / ID / "resolv.conf", tmp_path / ID / "hosts"
    resolv_conf.write_text("nameserver 10.0.0.1\n")
    hosts.symlink_to("/etc/hosts")
    fake.add(container("web", key=path_of(name), resolv_conf=str(resolv_conf), hosts=str(hosts)))
    found = await engines.find(WEB, with_files=True)
    os.close(found.fd)
    assert (found.resolv_conf, found.hosts) == ("nameserver 10.0.0.1\n", None)


async def test_key_of_the_host_is_refused(fake: FakeEngine, engines: Engines, mounted: Callable[[str], str]) -> None:
    """Docker names the host's namespace if a container shares it, also under other modes than "host"."""
    fake.add(container("web", key=mounted("/proc/self/ns/net")))
    error = await refusal(engines)
    assert error.kind == "host-network"
    assert str(error) == "the network of docker:web is the host's: ask for @host"


@pytest.mark.parametrize("kind", ["uts", "ipc", "user"])
async def test_namespace_of_another_kind_is_none(
    kind: str, fake: FakeEngine, engines: Engines, mounted: Callable[[str], str]
) -> None:
    fake.add(container("web", key=mounted(f"/proc/self/ns/{kind}")))
    assert (await refusal(engines)).kind == "not-running"


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("", "no-key"),
        ("/proc/1/ns/net", "no-key"),
        ("/proc/self/ns/net", "no-key"),
        ("{}/absent", "not-running"),
        ("{}/file", "not-running"),
        ("{}/fifo", "not-running"),
        ("{}/link", "not-running"),
        ("{}/file/x", "not-running"),
        ("{}", "not-running"),
        ("/dev/null", "not-running"),
        ("/" + "x" * 300, "not-running"),
        ("run/netns/x", "unavailable"),
        ("/run/../proc/self/ns/net", "unavailable"),
        ("//proc/self/ns/net", "unavailable"),
        ("/./proc/self/ns/net", "unavailable"),
        ("/run/netns/x\0y", "unavailable"),
        ("/run/netns/\ud800", "unavailable"),
        ("/x" * 2100, "unavailable"),
    ],
)
async def test_key_that_is_no_network_namespace_is_refused(
    key: str, kind: Kind, name: str, fake: FakeEngine, engines: Engines, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(path_of(name))
    fake.add(container("web", key=key.format(tmp_path)))
    assert (await refusal(engines)).kind == kind


async def test_server_of_another_user_is_no_engine(home: Identity, tmp_path: Path) -> None:
    """It could name any namespace as that of its container."""
    with fake_engine(tmp_path / "other.sock", uid=USER) as fake:
        error = await refusal(Engines({"docker": fake.path}, home))
    assert error.kind == "unavailable"
    assert str(error).endswith(f"the server at its socket is of the user {USER}: an engine of root is needed")
    assert fake.targets == []
