"""The answer for each case of a container, as podman and docker report it."""

from __future__ import annotations

import pytest

from nsbrokerd.namespaces.engines import EngineError
from nsbrokerd.namespaces.engines.answers import Kind
from nsbrokerd.namespaces.engines.docker_api import MAX_OWNERS, DockerApi
from support.engines.fake import ID, OWNER_ID, THIRD_ID, FakeEngine, container, http

EARLY, LATE = "2026-01-02T03:04:05.000000006Z", "2026-01-02T03:04:05.000000007Z"


async def refusal(api: DockerApi, name: str = "web") -> EngineError:
    with pytest.raises(EngineError) as caught:
        await api.find(name)
    return caught.value


async def test_running_container_is_found_by_its_name(fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", key="/run/netns/netns-1"))
    found = await podman.find("web")
    assert (found.id, found.key) == (ID, "/run/netns/netns-1")
    assert fake.targets == ["/containers/web/json"]


async def test_each_request_asks_anew(fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", key="/run/netns/netns-1"))
    await podman.find("web")
    fake.add(container("web", key="/run/netns/netns-2"))
    assert (await podman.find("web")).key == "/run/netns/netns-2"


async def test_absent_container_is_not_found(podman: DockerApi) -> None:
    error = await refusal(podman)
    assert error.kind == "no-such-container"
    assert str(error) == "podman has no container web. Of a pod, name one of its containers"


@pytest.mark.parametrize("reference", [ID, ID[:12], ID[:1], "another-name", "WEB"])
async def test_container_is_not_found_by_another_word_than_its_name(
    reference: str, fake: FakeEngine, podman: DockerApi
) -> None:
    """An id would evade a rule such as "!podman:mgmt"."""
    fake.add(container("web"), reference)
    error = await refusal(podman, reference)
    assert error.kind == "no-such-container"
    assert (
        str(error) == f"podman has no container with the name {reference}. If this is an id, use the container's name"
    )


@pytest.mark.parametrize("name", ["docker:web", "/web", "web/", "web/alias", " web", "podman:web"])
async def test_name_in_the_answer_must_be_the_requested_one(name: str, fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container(name), "web")
    assert (await refusal(podman)).kind == "no-such-container"


@pytest.mark.parametrize(
    "state",
    [{"Running": False}, {"Running": False, "Dead": True}, {"Running": True, "Restarting": True}],
    ids=["stopped", "dead", "restarting"],
)
async def test_stopped_container_has_no_namespace(state: dict[str, bool], fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", **state))
    error = await refusal(podman)
    assert error.kind == "not-running"
    assert str(error) == "podman:web does not run: start it"


async def test_paused_container_has_its_namespace(fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", Running=False, Paused=True))
    assert (await podman.find("web")).id == ID


async def test_container_in_the_network_of_the_host_is_refused(fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", mode="host"))
    error = await refusal(podman)
    assert error.kind == "host-network"
    assert str(error) == "the network of podman:web is the host's: ask for @host"


# A container in the network of another one has no namespace of its own. Its owner has.


async def test_owner_has_the_key(fake: FakeEngine, podman: DockerApi) -> None:
    """The member's own key is wrong after a restart of the owner, so it is never used."""
    fake.add(container("web", mode=f"container:{OWNER_ID}", key="/wrong", started=LATE))
    fake.add(container("owner", id=OWNER_ID, key="/right", started=EARLY))
    found = await podman.find("web")
    assert (found.id, found.key) == (ID, "/right")


async def test_owner_that_started_at_the_same_moment_is_the_same(fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", mode=f"container:{OWNER_ID}", started=EARLY))
    fake.add(container("owner", id=OWNER_ID, key="/right", started=EARLY))
    assert (await podman.find("web")).key == "/right"


async def test_owner_that_has_restarted_is_another_namespace(fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", mode=f"container:{OWNER_ID}", started=EARLY))
    fake.add(container("owner", id=OWNER_ID, started=LATE))
    error = await refusal(podman)
    assert error.kind == "owner-restarted"
    assert str(error) == "podman:web has the network of owner, which has restarted since: restart web as well"


async def test_owner_of_the_owner_has_the_key(fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", mode=f"container:{OWNER_ID}"))
    fake.add(container("owner", id=OWNER_ID, mode=f"container:{THIRD_ID}"))
    fake.add(container("third", id=THIRD_ID, key="/right"))
    assert (await podman.find("web")).key == "/right"


async def test_owner_of_the_owner_may_not_have_restarted_either(fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", mode=f"container:{OWNER_ID}", started=LATE))
    fake.add(container("owner", id=OWNER_ID, mode=f"container:{THIRD_ID}", started=EARLY))
    fake.add(container("third", id=THIRD_ID, started=LATE))
    assert (await refusal(podman)).kind == "owner-restarted"


@pytest.mark.parametrize("name", ["\ud800", "a\x1b[2J"])
async def test_name_that_no_container_can_have_is_not_shown(name: str, fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", mode=f"container:{OWNER_ID}", started=LATE))
    fake.add(container(name, id=OWNER_ID, mode=f"container:{THIRD_ID}", started=EARLY))
    fake.add(container("third", id=THIRD_ID, started=LATE))
    assert str(await refusal(podman)).endswith(f"has restarted since: restart {OWNER_ID} as well")


async def test_circle_of_owners_ends(fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", mode=f"container:{OWNER_ID}"))
    fake.add(container("owner", id=OWNER_ID, mode=f"container:{ID}"))
    error = await refusal(podman)
    assert error.kind == "no-key"
    assert "over more than 3 others" in str(error)
    assert len(fake.targets) == 1 + MAX_OWNERS


@pytest.mark.parametrize(
    ("changes", "kind"),
    [({"Running": False}, "not-running"), ({"mode": "host"}, "host-network"), ({"id": THIRD_ID}, "unavailable")],
)
async def test_owner_is_checked_as_well(
    changes: dict[str, object], kind: Kind, fake: FakeEngine, podman: DockerApi
) -> None:
    fake.add(container("web", mode=f"container:{OWNER_ID}"))
    fake.add(container("owner", **{"id": OWNER_ID, **changes}), OWNER_ID)
    assert (await refusal(podman)).kind == kind


async def test_owner_that_is_gone_does_not_run(fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", mode=f"container:{OWNER_ID}"))
    error = await refusal(podman)
    assert error.kind == "not-running"
    assert str(error) == "the container whose network podman:web joined is gone: make both of them anew"


async def test_owner_is_named_by_its_full_id_or_not_at_all(fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", mode="container:../images"))
    assert (await refusal(podman)).kind == "unavailable"
    assert len(fake.targets) == 1


# A path is trusted only if the engine made it: it contains an id that no path of a user could contain before.


@pytest.mark.parametrize("path", [f"/var/lib/{ID}/resolv.conf", f"/run/{ID}/userdata/resolv.conf"])
async def test_files_of_the_container_itself(path: str, fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", resolv_conf=path, hosts=path.replace("resolv.conf", "hosts")))
    found = await podman.find("web")
    assert (found.resolv_conf, found.hosts) == (path, path.replace("resolv.conf", "hosts"))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/home/alice/resolv.conf",
        f"/home/{ID[:12]}/resolv.conf",
        f"/home/x{ID}/f",
        f"{ID}/f",
        f"/home/{OWNER_ID}/f",
    ],
)
async def test_file_of_a_user_is_not_read(path: str, fake: FakeEngine, podman: DockerApi) -> None:
    fake.add(container("web", resolv_conf=path, hosts=path))
    found = await podman.find("web")
    assert (found.resolv_conf, found.hosts) == (None, None)


@pytest.mark.parametrize(("place", "files"), [("/etc/resolv.conf", (False, True)), ("/etc/hosts", (True, False))])
async def test_file_that_a_user_mounted_is_none_of_the_engine(
    place: str, files: tuple[bool, bool], fake: FakeEngine, podman: DockerApi
) -> None:
    fake.add(container("web", mounts=["/data", place]))
    found = await podman.find("web")
    assert (found.resolv_conf is not None, found.hosts is not None) == files


async def test_files_of_the_owner(fake: FakeEngine, podman: DockerApi) -> None:
    """The engine docker names them in the answers about both."""
    path = f"/var/lib/{OWNER_ID}/resolv.conf"
    fake.add(container("web", mode=f"container:{OWNER_ID}", resolv_conf=path))
    fake.add(container("owner", id=OWNER_ID, resolv_conf=path))
    assert (await podman.find("web")).resolv_conf == path


async def test_directory_with_the_id_of_the_owner_proves_nothing(fake: FakeEngine, podman: DockerApi) -> None:
    """A user who knows the owner's id can make such a directory, and mount a file of it into the member."""
    fake.add(container("web", mode=f"container:{OWNER_ID}", resolv_conf=f"/home/alice/{OWNER_ID}/resolv.conf"))
    fake.add(container("owner", id=OWNER_ID, resolv_conf=f"/var/lib/{OWNER_ID}/resolv.conf"))
    assert (await podman.find("web")).resolv_conf is None


async def test_word_of_docker_is_not_for_pods(fake: FakeEngine) -> None:
    assert str(await refusal(DockerApi("docker", fake.path))) == "docker has no container web"


async def test_running_containers_are_listed_by_their_names(fake: FakeEngine, podman: DockerApi) -> None:
    fake.say(http(b'[{"Names": ["/web"]}, {"Names": ["/db", "/web/alias", "/docker:x", "/-", 7]}, {"Names": ["/db"]}]'))
    assert await podman.running() == ["db", "web"]
    assert fake.targets == ["/containers/json"]


async def test_check_reports_the_version(fake: FakeEngine, podman: DockerApi) -> None:
    fake.say(http(b"OK", "200 OK", "Server: Libpod/5.4.2 (linux)"))
    assert await podman.check() == f"podman 5.4.2 answers at {fake.path}"
    assert fake.targets == ["/_ping"]


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ("Docker/26.1.5+dfsg1 (linux)", "the engine there is docker: correct [engines]"),
        ("nginx/1.22", "the server at its socket is no engine: correct [engines]"),
        ("Libpod/" + "5" * 100, "the server at its socket is no engine: correct [engines]"),
        ("", "the server at its socket is no engine: correct [engines]"),
    ],
)
async def test_check_notices_another_server(server: str, why: str, fake: FakeEngine, podman: DockerApi) -> None:
    fake.say(http(b"OK", "200 OK", f"Server: {server}"))
    with pytest.raises(EngineError) as caught:
        await podman.check()
    assert caught.value.kind == "unavailable"
    assert str(caught.value) == f"podman is unavailable at {fake.path}: {why}"
