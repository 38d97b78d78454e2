"""The messages of the Container Runtime Interface that the broker uses, and what they say about a pod. Pure.

A pod is a "sandbox" here. A pod that was started again has another sandbox, and its former one may still be there.
Source: https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from . import protobuf

LIST = "/runtime.v1.RuntimeService/ListPodSandbox"
STATUS = "/runtime.v1.RuntimeService/PodSandboxStatus"
VERSION = "/runtime.v1.RuntimeService/Version"

# PodSandboxState.
READY = 0
# NamespaceMode.
_NODE = 2

# The kubelet gives each sandbox these labels. They win over the pod's own labels.
_LABEL_OF_NAME = "io.kubernetes.pod.name"
_LABEL_OF_NAMESPACE = "io.kubernetes.pod.namespace"

_RESOLV_CONF = "/etc/resolv.conf"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""Of a sandbox. Both runtimes use 64 hexadecimal digits."""


class MessageError(Exception):
    """An answer is not the expected message. The text says why."""


class Pod(NamedTuple):
    """A pod's name: unique among the pods that run on one node."""

    namespace: str
    """A namespace of Kubernetes. It has no dot."""

    name: str

    def __str__(self) -> str:
        return f"{self.namespace}.{self.name}"


class Sandbox(NamedTuple):
    """One sandbox of a list."""

    id: str
    pod: Pod
    is_ready: bool


class Status(NamedTuple):
    """The status of one sandbox."""

    sandbox: Sandbox
    is_in_host_network: bool
    key: str
    """The path of its network namespace, or ""."""

    resolv_conf: str | None
    """The path of the file that the runtime made for it as /etc/resolv.conf, or None."""


def pod_of(name: str) -> Pod:
    """Return the pod of a name that has the form NAMESPACE.NAME."""
    namespace, _, pod = name.partition(".")
    return Pod(namespace, pod)


def list_request(pod: Pod | None, state: int | None = READY) -> bytes:
    """Ask for the sandboxes of one pod, or of all. The state None means any state."""
    parts = []
    if state is not None:
        parts.append(protobuf.message(2, protobuf.number(1, state)))
    if pod is not None:
        parts.append(protobuf.entry(3, _LABEL_OF_NAME, pod.name))
        parts.append(protobuf.entry(3, _LABEL_OF_NAMESPACE, pod.namespace))
    return protobuf.message(1, *parts)


def status_request(sandbox_id: str) -> bytes:
    """Ask for the status of a sandbox, with the information for debugging."""
    return protobuf.text(1, sandbox_id) + protobuf.number(2, True)


def version_request() -> bytes:
    """Ask for the runtime's name and version."""
    return protobuf.text(1, "v1")


def split_list(answer: bytes) -> list[bytes]:
    """Return the sandboxes of a list, each still encoded.

    Raises:
        MessageError: this is no list.
    """
    try:
        return protobuf.Message(answer).undecoded(1)
    except protobuf.ProtobufError as error:
        raise MessageError(str(error)) from error


def read_sandbox(encoded: bytes) -> Sandbox:
    """Return one sandbox of a list.

    Raises:
        MessageError: this is no sandbox.
    """
    try:
        return _sandbox(protobuf.Message(encoded))
    except protobuf.ProtobufError as error:
        raise MessageError(str(error)) from error


def read_version(answer: bytes) -> str:
    """Return the runtime's name and version, for example "containerd 1.6.20".

    Raises:
        MessageError: this is no version.
    """
    try:
        message = protobuf.Message(answer)
        words = f"{message.text(2)} {message.text(3)}".strip()
    except protobuf.ProtobufError as error:
        raise MessageError(str(error)) from error
    if not words.isprintable() or not 0 < len(words) <= 200:
        raise MessageError("its answer has no version")
    return words


def read_status(answer: bytes) -> Status:
    """Return the status of a sandbox.

    Raises:
        MessageError: this is no status, or the runtime does not tell the network namespace.
    """
    try:
        message = protobuf.Message(answer)
        status = message.message(1)
        options = status.message(6).message(1).message(2)  # linux, namespaces, options
        sandbox, mode = _sandbox(status), options.number(1)
        info = message.entry(2, "info")
    except protobuf.ProtobufError as error:
        raise MessageError(str(error)) from error
    spec = _runtime_spec(info)
    return Status(sandbox, mode == _NODE, _network_path(spec), _resolv_conf_path(spec, sandbox.id))


def _sandbox(message: protobuf.Message) -> Sandbox:
    """Read what PodSandbox and PodSandboxStatus have in common."""
    metadata = message.message(2)
    pod = Pod(metadata.text(3), metadata.text(1))
    sandbox_id = message.text(1)
    if not _ID.fullmatch(sandbox_id):
        raise MessageError("a sandbox has no id, or one with odd characters")
    return Sandbox(sandbox_id, pod, message.number(3) == READY)


def _runtime_spec(info: str | None) -> dict[str, object]:
    if info is None:
        raise MessageError("its answer has no runtime specification")
    try:
        decoded = json.loads(info)
    except (ValueError, RecursionError) as error:
        raise MessageError("its runtime specification is no JSON") from error
    spec = decoded.get("runtimeSpec") if isinstance(decoded, dict) else None
    if not isinstance(spec, dict):
        raise MessageError("its answer has no runtime specification")
    return spec


def _network_path(spec: dict[str, object]) -> str:
    """Return the path of the network namespace. It is "" if the specification has none, as for the host's network.

    Source: config-linux.md of the OCI runtime specification.
    """
    linux = spec.get("linux")
    namespaces = linux.get("namespaces") if isinstance(linux, dict) else None
    paths = [entry.get("path", "") for entry in _objects(namespaces) if entry.get("type") == "network"]
    if len(paths) > 1 or not all(isinstance(path, str) for path in paths):
        raise MessageError("its runtime specification has several network namespaces, or a path that is no text")
    return str(paths[0]) if paths else ""


def _resolv_conf_path(spec: dict[str, object], sandbox_id: str) -> str | None:
    """Return the source of the one mount at /etc/resolv.conf, if the runtime made it for this sandbox.

    A path without the sandbox's id could be a file that a user chose.
    """
    sources = [
        mount.get("source") for mount in _objects(spec.get("mounts")) if mount.get("destination") == _RESOLV_CONF
    ]
    if len(sources) != 1 or not isinstance(sources[0], str) or sandbox_id not in sources[0].split("/"):
        return None
    return sources[0]


def _objects(value: object) -> list[dict[str, object]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise MessageError("its runtime specification has an unknown form")
    return value
