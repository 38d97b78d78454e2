"""Answers of the CRI as values: a pod's name, state and paths, or a reason to refuse them."""

from __future__ import annotations

import json

import pytest

from nsbrokerd.namespaces.engines import protobuf
from nsbrokerd.namespaces.engines.cri_messages import (
    MessageError,
    Pod,
    Sandbox,
    list_request,
    pod_of,
    read_sandbox,
    read_status,
    read_version,
    split_list,
    status_request,
)
from nsbrokerd.namespaces.engines.protobuf import Message
from support.pods import messages
from support.pods.messages import HOST_NETWORK, ID, NOT_READY, OTHER_ID

WEB = Pod("default", "web-0")


def read_list(answer: bytes) -> list[Sandbox]:
    return [read_sandbox(item) for item in split_list(answer)]


KEY = "/var/run/netns/cni-1"
RESOLV_CONF = f"/var/lib/containerd/sandboxes/{ID}/resolv.conf"


def test_namespace_of_a_pod_ends_at_the_first_dot() -> None:
    assert pod_of("default.web-0") == WEB
    assert pod_of("shop.web.example.org") == Pod("shop", "web.example.org")
    assert str(pod_of("shop.web.example.org")) == "shop.web.example.org"


def test_request_for_a_pod_selects_it_by_labels_and_state() -> None:
    selection = Message(list_request(WEB)).message(1)
    assert selection.entry(3, "io.kubernetes.pod.name") == "web-0"
    assert selection.entry(3, "io.kubernetes.pod.namespace") == "default"
    assert len(selection.messages(2)) == 1
    assert selection.message(2).number(1) == messages.READY


def test_request_for_any_state_has_no_state() -> None:
    assert Message(list_request(WEB, state=None)).message(1).messages(2) == []


def test_request_for_all_pods_has_no_labels() -> None:
    assert Message(list_request(None)).message(1).messages(3) == []


def test_status_is_asked_with_information_for_debugging() -> None:
    request = Message(status_request(ID))
    assert (request.text(1), request.number(2)) == (ID, 1)


def test_list_has_each_sandbox_in_order() -> None:
    listed = messages.listing(
        messages.sandbox("default.web-0"),
        messages.sandbox("shop.a.b", OTHER_ID, NOT_READY, protobuf.entry(5, "a", "b")),
    )
    assert read_list(listed) == [Sandbox(ID, WEB, True), Sandbox(OTHER_ID, Pod("shop", "a.b"), False)]


@pytest.mark.parametrize(
    "sandbox_id", ["", "..", ".x", "a/b", "a\nb", "-a", "x" * 129, "\N{LATIN SMALL LETTER E WITH ACUTE}"]
)
def test_sandbox_without_a_plain_id_is_refused(sandbox_id: str) -> None:
    with pytest.raises(MessageError, match="a sandbox has no id, or one with odd characters"):
        read_list(messages.listing(messages.sandbox("default.web-0", sandbox_id)))


def test_unknown_state_is_not_ready() -> None:
    assert not read_list(messages.listing(messages.sandbox("default.web-0", state=7)))[0].is_ready


def test_status_has_the_key_and_the_file_of_the_runtime() -> None:
    status = read_status(messages.status("default.web-0", messages.spec(KEY, RESOLV_CONF)))
    assert status.sandbox == Sandbox(ID, WEB, True)
    assert (status.key, status.resolv_conf, status.is_in_host_network) == (KEY, RESOLV_CONF, False)


def test_network_of_the_host_is_known_by_its_mode() -> None:
    status = read_status(messages.status("default.web-0", messages.spec(KEY), network=HOST_NETWORK))
    assert status.is_in_host_network


@pytest.mark.parametrize(
    "spec", [messages.spec(None), {}, {"linux": None}, {"linux": {"namespaces": None}}, messages.spec("")]
)
def test_specification_without_a_network_namespace_has_no_key(spec: object) -> None:
    assert read_status(messages.status("default.web-0", spec)).key == ""


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        f"/var/lib/sandboxes/{OTHER_ID}/resolv.conf",
        f"/var/lib/sandboxes/x{ID}/resolv.conf",
        f"/var/lib/sandboxes/{ID}x/resolv.conf",
        "",
    ],
)
def test_resolv_conf_without_the_id_in_its_path_is_left_out(path: str) -> None:
    assert read_status(messages.status("default.web-0", messages.spec(KEY, path))).resolv_conf is None


def test_second_mount_at_resolv_conf_leaves_out_both() -> None:
    spec = messages.spec(KEY, RESOLV_CONF)
    mounts = spec["mounts"]
    assert isinstance(mounts, list)
    spec["mounts"] = [*mounts, mounts[-1]]
    assert read_status(messages.status("default.web-0", spec)).resolv_conf is None


NO_SPECIFICATION = "its answer has no runtime specification"
ODD_FORM = "its runtime specification has an unknown form"
ODD_PATH = "several network namespaces, or a path that is no text"


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (None, NO_SPECIFICATION),
        ("", "its runtime specification is no JSON"),
        ("{", "its runtime specification is no JSON"),
        ("[" * 100_000, "its runtime specification is no JSON"),
        ("1" * 10_000, "its runtime specification is no JSON"),
        ("[]", NO_SPECIFICATION),
        ("{}", NO_SPECIFICATION),
        ('{"runtimeSpec": 5}', NO_SPECIFICATION),
        ('{"runtimeSpec": {"linux": {"namespaces": {}}}}', ODD_FORM),
        ('{"runtimeSpec": {"linux": {"namespaces": ["network"]}}}', ODD_FORM),
        ('{"runtimeSpec": {"mounts": {"a": 1}}}', ODD_FORM),
        ('{"runtimeSpec": {"linux": {"namespaces": [{"type": "network", "path": 5}]}}}', ODD_PATH),
        ('{"runtimeSpec": {"linux": {"namespaces": [{"type": "network"}, {"type": "network"}]}}}', ODD_PATH),
    ],
    ids=lambda value: str(value)[:40],
)
def test_odd_information_is_refused(info: str | None, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        read_status(messages.status_of_text("default.web-0", info))


def test_message_of_another_form_is_refused() -> None:
    for read in (read_list, read_status, read_version):
        with pytest.raises(MessageError, match="a number is cut off"):
            read(b"\xff")


def test_version_is_name_and_number() -> None:
    assert read_version(messages.version()) == "containerd 1.6.20~ds1"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "x" * 300])
def test_odd_version_is_refused(name: str) -> None:
    with pytest.raises(MessageError, match="its answer has no version"):
        read_version(messages.version(name))
    with pytest.raises(MessageError, match="its answer has no version"):
        read_version(b"")


def test_specification_may_have_any_other_parts() -> None:
    spec = messages.spec(KEY) | {"process": {"args": ["/pause"]}, "annotations": json.loads('{"a": null}')}
    assert read_status(messages.status("default.web-0", spec)).key == KEY
