"""Pods by the CRI socket: each row of the table of answers, with a fake runtime."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from nsbrokerd.namespaces.engines import protobuf
from nsbrokerd.namespaces.engines.answers import EngineError, Found
from nsbrokerd.namespaces.engines.cri import MAX_ANSWER_BYTES, Cri
from nsbrokerd.namespaces.engines.protobuf import Message
from support.pods import fake_cri, messages
from support.pods.fake_cri import FakeCri, Reply, answer
from support.pods.messages import HOST_NETWORK, ID, NOT_READY, OTHER_ID

POD = "default.web-0"
KEY = "/var/run/netns/cni-1"
RESOLV_CONF = f"/var/lib/containerd/sandboxes/{ID}/resolv.conf"
SPEC = messages.spec(KEY, RESOLV_CONF)

READY = messages.sandbox(POD)
STATUS = messages.status(POD, SPEC)


def listed(*sandboxes: bytes) -> Reply:
    """Answer with a list of these sandboxes, whatever the request selects."""
    return answer(messages.listing(*sandboxes))


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeCri]:
    """A runtime with the one pod POD."""
    fake = FakeCri(
        tmp_path / "cri.sock",
        {
            "ListPodSandbox": listed(READY),
            "PodSandboxStatus": answer(STATUS),
            "Version": answer(messages.version()),
        },
    )
    yield fake
    fake.close()


async def find(fake: FakeCri, name: str = POD) -> Found:
    with trio.fail_after(20):
        return await Cri(fake.path).find(name)


async def refusal(fake: FakeCri, name: str = POD) -> tuple[str, str]:
    """Kind and message of the error."""
    with pytest.raises(EngineError) as raised:
        await find(fake, name)
    return raised.value.kind, str(raised.value)


async def test_ready_pod_has_its_key_and_file(fake: FakeCri) -> None:
    assert await find(fake) == Found(ID, KEY, RESOLV_CONF, None)
    assert [call.method for call in fake.calls] == ["ListPodSandbox", "PodSandboxStatus"]
    assert Message(fake.calls[1].request[5:]).text(1) == ID


async def test_each_question_is_asked_anew(fake: FakeCri) -> None:
    await find(fake)
    fake.replies["PodSandboxStatus"] = answer(messages.status(POD, messages.spec("/run/netns/cni-2")))
    assert (await find(fake)).key == "/run/netns/cni-2"


async def test_pod_that_is_not_there(fake: FakeCri) -> None:
    fake.replies["ListPodSandbox"] = listed()
    expected = f"this host has no pod:{POD}. The name is NAMESPACE.NAME of a pod on this host"
    assert await refusal(fake) == ("no-such-container", expected)


async def test_pod_with_another_name_or_namespace_than_the_asked_one_is_not_taken(fake: FakeCri) -> None:
    """A label selects the pod. Its own name decides."""
    fake.replies["ListPodSandbox"] = listed(messages.sandbox("default.web-1"), messages.sandbox("shop.web-0"))
    assert (await refusal(fake))[0] == "no-such-container"


async def test_pod_that_is_not_ready(fake: FakeCri) -> None:
    fake.replies["ListPodSandbox"] = listed(messages.sandbox(POD, state=NOT_READY))
    assert await refusal(fake) == ("not-running", f"pod:{POD} does not run: wait until it is ready, or start it")
    states = [Message(call.request[5:]).message(1).messages(2) for call in fake.calls]
    assert [len(state) for state in states] == [1, 0]


async def test_former_sandbox_of_a_pod_does_not_count(fake: FakeCri) -> None:
    fake.replies["ListPodSandbox"] = listed(messages.sandbox(POD, OTHER_ID, NOT_READY), READY)
    assert (await find(fake)).id == ID


async def test_pod_with_two_ready_sandboxes_is_refused(fake: FakeCri) -> None:
    fake.replies["ListPodSandbox"] = listed(READY, messages.sandbox(POD, OTHER_ID))
    expected = f"pod:{POD} has 2 sandboxes that are ready: stop all but the newest by `crictl stopp`"
    assert await refusal(fake) == ("several", expected)


@pytest.mark.parametrize(
    "status",
    [messages.status(POD, SPEC, network=HOST_NETWORK), messages.status(POD, messages.spec(None))],
    ids=["mode", "no path"],
)
async def test_pod_in_the_network_of_the_host(fake: FakeCri, status: bytes) -> None:
    fake.replies["PodSandboxStatus"] = answer(status)
    assert await refusal(fake) == ("host-network", f"the network of pod:{POD} is the host's: ask for @host")


async def test_pod_that_ends_between_the_questions(fake: FakeCri) -> None:
    for reply in (fake_cri.failure("5"), answer(messages.status(POD, SPEC, state=NOT_READY))):
        fake.replies["PodSandboxStatus"] = reply
        assert (await refusal(fake))[0] == "not-running"


@pytest.mark.parametrize(
    "status",
    [messages.status(POD, SPEC, OTHER_ID), messages.status("default.web-1", SPEC), messages.status("shop.web-0", SPEC)],
    ids=["id", "name", "namespace"],
)
async def test_status_of_another_pod_is_refused(fake: FakeCri, status: bytes) -> None:
    fake.replies["PodSandboxStatus"] = answer(status)
    kind, message = await refusal(fake)
    assert kind == "unavailable"
    assert message.endswith(f"at {fake.path}: it answers with the status of another pod: see its log")


ANNOTATIONS = protobuf.entry(6, "note", "x" * MAX_ANSWER_BYTES)

UNAVAILABLE = {
    "status UNAVAILABLE": (fake_cri.failure("14"), "it answers with the status UNAVAILABLE: see its log"),
    "old": (
        fake_cri.failure("12"),
        "it answers with the status UNIMPLEMENTED: containerd 1.6, CRI-O 1.23 or newer is needed",
    ),
    "list is NOT_FOUND": (fake_cri.failure("5"), "it answers with the status NOT_FOUND: see its log"),
    "garbage": (answer(b"\xff"), "a number is cut off, or longer than 64 bits: see its log"),
    "too long": (
        answer(messages.listing(messages.sandbox(POD, ID, 0, ANNOTATIONS))),
        "its answer is too long: see its log",
    ),
    "closed": (fake_cri.close, "it closed the connection without an answer: see its log"),
    "going away": (fake_cri.go_away, "it is shutting down: see its log"),
    "reset": (fake_cri.reset, "it dropped the question: see its log"),
}


@pytest.mark.parametrize(("reply", "reason"), UNAVAILABLE.values(), ids=UNAVAILABLE)
async def test_runtime_without_a_usable_answer_is_unavailable(fake: FakeCri, reply: Reply, reason: str) -> None:
    """It is never taken for a pod that is not there."""
    fake.replies["ListPodSandbox"] = reply
    expected = ("unavailable", f"the engine of pods is unavailable at {fake.path}: {reason}")
    assert await refusal(fake) == expected


async def test_status_that_fails_otherwise_is_unavailable(fake: FakeCri) -> None:
    for reply in (fake_cri.failure("13"), answer(messages.status_of_text(POD, "{"))):
        fake.replies["PodSandboxStatus"] = reply
        assert (await refusal(fake))[0] == "unavailable"


async def test_missing_socket_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"is unavailable at .*/none: its socket does not exist") as raised:
        await Cri(tmp_path / "none").find(POD)
    assert raised.value.kind == "unavailable"


async def test_question_to_a_hung_runtime_ends_with_its_scope(fake: FakeCri, autojump_clock: object) -> None:
    """The caller bounds the time. The connection is closed then, so the runtime has no call left."""
    fake.replies["ListPodSandbox"] = fake_cri.hang
    with trio.move_on_after(1) as scope:
        await Cri(fake.path).find(POD)
    assert scope.cancelled_caught


@pytest.mark.parametrize(("engine", "loaded"), [("podman", False), ("pod", True)])
def test_library_loads_only_if_pods_are_switched_on(engine: str, loaded: bool) -> None:
    code = (
        "import sys; from pathlib import Path; from nsbrokerd.namespaces.engines import Engines\n"
        f"Engines({{{engine!r}: Path('/none')}}, (0, 0))\n"
        f"assert ('h2' in sys.modules) == {loaded}\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


async def test_unavailable_runtime_has_no_list(fake: FakeCri) -> None:
    fake.replies["ListPodSandbox"] = fake_cri.failure("14")
    with pytest.raises(EngineError, match="it answers with the status UNAVAILABLE") as raised:
        await Cri(fake.path).running()
    assert raised.value.kind == "unavailable"


async def test_running_pods_are_listed_in_order(fake: FakeCri) -> None:
    fake.replies["ListPodSandbox"] = listed(
        messages.sandbox("shop.b"),
        READY,
        messages.sandbox("a.old", OTHER_ID, NOT_READY),
        messages.sandbox("shop.b", OTHER_ID),
    )
    assert await Cri(fake.path).running() == [POD, "shop.b"]


async def test_running_pod_without_a_legal_name_is_not_listed(fake: FakeCri) -> None:
    fake.replies["ListPodSandbox"] = listed(messages.sandbox("shop.a\nb"), messages.sandbox("."), READY)
    assert await Cri(fake.path).running() == [POD]


async def test_pod_with_too_many_labels_hides_no_other_pod(fake: FakeCri) -> None:
    labels = protobuf.entry(5, "a", "b") * 5000
    fake.replies["ListPodSandbox"] = listed(messages.sandbox("shop.b", OTHER_ID, 0, labels), READY)
    assert await Cri(fake.path).running() == [POD]
    kind, message = await refusal(fake, "shop.b")
    assert (kind, message.endswith("a message has more than 4096 fields: see its log")) == ("unavailable", True)


async def test_list_may_be_longer_than_the_answer_for_one_pod(fake: FakeCri) -> None:
    fake.replies["ListPodSandbox"] = listed(messages.sandbox(POD, ID, 0, ANNOTATIONS))
    assert await Cri(fake.path).running() == [POD]


async def test_check_tells_the_version(fake: FakeCri) -> None:
    assert await Cri(fake.path).check() == f"containerd 1.6.20~ds1 answers at {fake.path}"
    fake.replies["Version"] = fake_cri.failure("12")
    with pytest.raises(EngineError, match=r"UNIMPLEMENTED: containerd 1\.6, CRI-O 1\.23 or newer is needed"):
        await Cri(fake.path).check()
