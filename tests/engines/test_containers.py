"""The answer for each case of a container, with a real podman and a real docker."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest
from trio.testing import MockClock

from nsbrokerd.namespaces.engines import EngineError, Engines
from nsbrokerd.namespaces.engines.answers import Kind
from nsbrokerd.namespaces.finding import cookie_of
from nsbrokerd.namespaces.netns import Gate
from nsbrokerd.policy.engine_names import EngineName
from support.engines.docker import Docker
from support.engines.place import PATIENCE_S, Place
from support.engines.podman import Podman

Engine = Podman | Docker

GATE = Gate()


class Seen(NamedTuple):
    """A container as the broker sees it."""

    id: str
    namespace: int
    """The cookie of its network namespace, which is never used again. An inode is."""

    resolv_conf: str | None
    hosts: str | None


Find = Callable[[str], Awaitable[Seen]]


@pytest.fixture
def find(engine: Engine, engines: Engines) -> Find:
    async def find(name: str) -> Seen:
        found = await engines.find(EngineName(engine.engine, name), with_files=True)
        try:
            return Seen(found.id, cookie_of(GATE, found.fd), found.resolv_conf, found.hosts)
        finally:
            os.close(found.fd)

    return find


def true_namespace(engine: Engine, name: str) -> int:
    """Return the cookie of the namespace that the first process of a container is in."""
    with open(f"/proc/{engine.inspect(name)['State']['Pid']}/ns/net") as file:
        return cookie_of(GATE, file.fileno())


async def refusal(find: Find, name: str) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await find(name)
    return caught.value


async def kind_of_refusal(find: Find, name: str) -> Kind:
    return (await refusal(find, name)).kind


class TestContainerOfItsOwn:
    async def test_its_namespace_is_found(self, engine: Engine, find: Find) -> None:
        id_ = engine.start("web")
        found = await find("web")
        assert (found.id, found.namespace) == (id_, true_namespace(engine, "web"))

    async def test_absent_container_is_not_found(self, engine: Engine, find: Find) -> None:
        engine.start("web")
        assert await kind_of_refusal(find, "we") == "no-such-container"
        assert await kind_of_refusal(find, "webb") == "no-such-container"

    async def test_container_is_not_found_by_its_id(self, engine: Engine, find: Find) -> None:
        """An id would evade a rule such as "!podman:mgmt"."""
        id_ = engine.start("web")
        for length in (64, 12, 6):
            assert engine.run("container", "inspect", id_[:length]).returncode == 0
            error = await refusal(find, id_[:length])
            assert error.kind == "no-such-container"
            assert str(error).endswith(
                f"no container with the name {id_[:length]}. If this is an id, use the container's name"
            )

    async def test_container_that_never_ran_does_not_run(self, engine: Engine, find: Find) -> None:
        engine("create", "--name=web", "nsbroker-test", "true")
        assert await kind_of_refusal(find, "web") == "not-running"

    async def test_stopped_container_does_not_run(self, engine: Engine, find: Find) -> None:
        engine.start("web")
        engine("stop", "--time=0", "web")
        assert await kind_of_refusal(find, "web") == "not-running"
        engine("start", "web")
        assert (await find("web")).namespace == true_namespace(engine, "web")

    async def test_killed_container_does_not_run(self, engine: Engine, find: Find) -> None:
        engine.start("web")
        engine("kill", "web")
        engine.run("wait", "web")
        assert await kind_of_refusal(find, "web") == "not-running"

    async def test_restarted_container_has_its_new_namespace(self, engine: Engine, find: Find) -> None:
        engine.start("web")
        await find("web")
        engine("restart", "--time=0", "web")
        assert (await find("web")).namespace == true_namespace(engine, "web")

    async def test_paused_container_is_found(self, engine: Engine, find: Find) -> None:
        engine.start("web")
        there = true_namespace(engine, "web")
        engine("pause", "web")
        try:
            assert (await find("web")).namespace == there
        finally:
            engine("unpause", "web")

    async def test_renamed_container_has_its_new_name_alone(self, engine: Engine, find: Find) -> None:
        id_ = engine.start("web")
        engine("rename", "web", "db")
        assert (await find("db")).id == id_
        assert await kind_of_refusal(find, "web") == "no-such-container"

    async def test_removed_container_is_not_found(self, engine: Engine, find: Find) -> None:
        engine.start("web")
        engine("rm", "--force", "web")
        assert await kind_of_refusal(find, "web") == "no-such-container"

    async def test_container_on_a_network_of_its_own_is_found(self, engine: Engine, find: Find) -> None:
        engine("network", "create", "inner")
        try:
            engine.start("web", "--network=inner")
            assert (await find("web")).namespace == true_namespace(engine, "web")
        finally:
            engine.remove_all()
            engine("network", "rm", "inner")

    async def test_labels_of_a_megabyte_make_the_engine_unavailable(self, engine: Engine, find: Find) -> None:
        labels = [f"--label=x{number}={'y' * 100_000}" for number in range(11)]
        engine.start("web", *labels)
        error = await refusal(find, "web")
        assert error.kind == "unavailable"
        assert "longer than 262144 bytes" in str(error)


class TestOtherNetworks:
    async def test_network_of_the_host_is_refused(self, engine: Engine, find: Find) -> None:
        engine.start("web", "--network=host")
        assert await kind_of_refusal(find, "web") == "host-network"

    async def test_podman_has_no_key_for_a_container_without_a_network(
        self, podman: Podman, engine_host: Place
    ) -> None:
        podman.start("web", "--network=none")
        with pytest.raises(EngineError) as caught:
            await Engines({"podman": podman.socket}, engine_host.home, PATIENCE_S).find(EngineName("podman", "web"))
        assert caught.value.kind == "no-key"

    async def test_docker_has_a_key_for_a_container_without_a_network(self, docker: Docker, engine_host: Place) -> None:
        docker.start("web", "--network=none")
        found = await Engines({"docker": docker.socket}, engine_host.home, PATIENCE_S).find(EngineName("docker", "web"))
        with open(found.fd) as file:
            assert cookie_of(GATE, file.fileno()) == true_namespace(docker, "web")

    async def test_key_of_the_host_is_the_host_whatever_its_mode_is(self, docker: Docker, engine_host: Place) -> None:
        """The network namespace that the broker takes for its own is never handed out as a container's."""
        docker.start("web")
        there = os.stat(f"/proc/{docker.inspect('web')['State']['Pid']}/ns/net")
        with pytest.raises(EngineError) as caught:
            await Engines({"docker": docker.socket}, (there.st_dev, there.st_ino), PATIENCE_S).find(
                EngineName("docker", "web")
            )
        assert caught.value.kind == "host-network"


class TestNetworkOfAnotherContainer:
    async def test_namespace_of_the_owner_is_found(self, engine: Engine, find: Find) -> None:
        engine.start("owner")
        id_ = engine.start("web", "--network=container:owner")
        found = await find("web")
        assert found.id == id_
        assert found.namespace == true_namespace(engine, "web") == true_namespace(engine, "owner")

    async def test_owner_that_has_restarted_is_refused(self, engine: Engine, find: Find) -> None:
        """The engine answers with the owner's new key, but the member is still in the old namespace."""
        engine.start("owner")
        engine.start("web", "--network=container:owner")
        engine("restart", "--time=0", "owner")
        assert true_namespace(engine, "web") != true_namespace(engine, "owner")
        error = await refusal(find, "web")
        assert error.kind == "owner-restarted"
        assert str(error).endswith("has the network of owner, which has restarted since: restart web as well")
        engine("restart", "--time=0", "web")
        assert (await find("web")).namespace == true_namespace(engine, "owner")

    async def test_owner_that_has_stopped_is_refused(self, engine: Engine, find: Find) -> None:
        engine.start("owner")
        engine.start("web", "--network=container:owner")
        engine("kill", "owner")
        engine.run("wait", "owner")
        assert await kind_of_refusal(find, "web") == "not-running"

    async def test_owner_in_the_network_of_the_host_is_refused(self, engine: Engine, find: Find) -> None:
        engine.start("owner", "--network=host")
        engine.start("web", "--network=container:owner")
        assert await kind_of_refusal(find, "web") == "host-network"


class TestPods:
    """A pod of podman is a container that the others share the network of."""

    @pytest.fixture
    def engine(self, podman: Podman) -> Podman:
        podman("pod", "create", "--name=shop", *podman.infra)
        podman.start("web", "--pod=shop")
        return podman

    async def test_container_of_a_pod_has_its_namespace(self, engine: Podman, find: Find) -> None:
        assert (await find("web")).namespace == true_namespace(engine, "web")

    async def test_pod_itself_has_no_name(self, find: Find) -> None:
        error = await refusal(find, "shop")
        assert error.kind == "no-such-container"
        assert str(error) == "podman has no container shop. Of a pod, name one of its containers"

    async def test_pod_that_has_restarted_is_found(self, engine: Podman, find: Find) -> None:
        engine("pod", "stop", "--time=0", "shop")
        engine("pod", "start", "shop")
        assert (await find("web")).namespace == true_namespace(engine, "web")

    async def test_member_of_a_pod_whose_first_container_has_restarted_is_refused(
        self, engine: Podman, find: Find
    ) -> None:
        infra = engine("pod", "inspect", "--format={{.InfraContainerID}}", "shop")
        engine("restart", "--time=0", infra)
        assert await kind_of_refusal(find, "web") == "owner-restarted"


class TestFilesForLookUps:
    async def test_files_are_those_that_the_container_has(self, engine: Engine, find: Find) -> None:
        engine.start("web", "--dns=10.9.8.7", "--add-host=db.example.org:10.0.0.9")
        found = await find("web")
        assert found.resolv_conf == engine("exec", "web", "cat", "/etc/resolv.conf") + "\n"
        assert found.hosts == engine("exec", "web", "cat", "/etc/hosts") + "\n"
        assert "nameserver 10.9.8.7" in found.resolv_conf
        assert "db.example.org" in found.hosts

    async def test_files_of_the_owner_are_those_of_the_member(self, engine: Engine, find: Find) -> None:
        engine.start("owner", "--dns=10.9.8.7")
        engine.start("web", "--network=container:owner")
        found = await find("web")
        assert "nameserver 10.9.8.7" in (found.resolv_conf or "")

    @pytest.mark.parametrize("trap", ["file", "link", "fifo", "large"])
    async def test_file_that_a_user_mounted_is_not_read(
        self, trap: str, engine: Engine, find: Find, engine_host: Place
    ) -> None:
        """As root, the broker would read a file that the user can't read, or would wait for a pipe."""
        path = engine_host.directory / f"{engine.engine}-{trap}"
        if trap == "file":
            path.write_text("nameserver 10.9.8.7\n")
        elif trap == "link":
            path.symlink_to("/etc/shadow")
        elif trap == "fifo":
            os.mkfifo(path)
        else:
            with open(path, "wb") as file:
                file.truncate(20 * 2**20)
        engine.start("web", f"--volume={path}:/etc/resolv.conf", f"--volume={path}:/etc/hosts")
        found = await find("web")
        assert found.namespace == true_namespace(engine, "web")
        assert (found.resolv_conf, found.hosts) == (None, None)


class TestWholeEngine:
    async def test_running_containers_are_listed(self, engine: Engine, engines: Engines) -> None:
        for name in ("web", "db", "old"):
            engine.start(name)
        engine("kill", "old")
        engine.run("wait", "old")
        assert await engines.running(engine.engine) == ["db", "web"]

    async def test_check_reports_the_version(self, engine: Engine, engines: Engines) -> None:
        assert await engines.check(engine.engine) == f"{engine.engine} {engine.version()} answers at {engine.socket}"

    async def test_word_for_another_engine_is_noticed(self, engine: Engine, engine_host: Place) -> None:
        other = "docker" if engine.engine == "podman" else "podman"
        with pytest.raises(EngineError, match=f"the engine there is {engine.engine}: correct"):
            await Engines({other: engine.socket}, engine_host.home, PATIENCE_S).check(other)

    async def test_engine_that_stands_still_is_unavailable(
        self, engine: Engine, engine_host: Place, autojump_clock: MockClock
    ) -> None:
        engine.start("web")
        engines = Engines({engine.engine: engine.socket}, engine_host.home)
        with engine.standing_still(), pytest.raises(EngineError) as caught:
            await engines.find(EngineName(engine.engine, "web"))
        assert caught.value.kind == "unavailable"
        assert str(caught.value).startswith(f"{engine.engine} does not answer within 1 s")


async def test_restarting_container_is_never_another_one(engine: Engine, find: Find, long: bool) -> None:
    """Each answer is a namespace that the container has at some moment of the request, or a refusal."""
    engine.start("web")
    for _ in range(1000 if long else 5):
        before = true_namespace(engine, "web")
        restart = threading.Thread(target=engine, args=("restart", "--time=0", "web"))
        restart.start()
        seen: set[int | Kind] = set()
        while restart.is_alive():
            try:
                seen.add((await find("web")).namespace)
            except EngineError as error:
                seen.add(error.kind)
        restart.join()
        after = true_namespace(engine, "web")
        assert (await find("web")).namespace == after
        assert seen <= {before, after, "not-running", "no-key"}
