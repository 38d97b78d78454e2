"""Encodes answers of a CRI runtime."""

from __future__ import annotations

import json

from nsbrokerd.namespaces.engines import protobuf

READY = 0
NOT_READY = 1
POD_NETWORK = 0
HOST_NETWORK = 2

ID = "1f" * 32
OTHER_ID = "2e" * 32


def metadata(pod: str, attempt: int = 0) -> bytes:
    """Encode the name of a pod NAMESPACE.NAME, as field 2 of a sandbox."""
    namespace, _, name = pod.partition(".")
    return protobuf.message(
        2, protobuf.text(1, name), protobuf.text(2, "uid-1"), protobuf.text(3, namespace), protobuf.number(4, attempt)
    )


def sandbox(pod: str, sandbox_id: str = ID, state: int = READY, *extra: bytes) -> bytes:
    """Encode a sandbox without the frame of a field."""
    parts = [protobuf.text(1, sandbox_id), metadata(pod), protobuf.number(3, state), protobuf.number(4, 2**62), *extra]
    return b"".join(parts)


def listing(*sandboxes: bytes) -> bytes:
    """Encode ListPodSandboxResponse."""
    return b"".join(protobuf.message(1, item) for item in sandboxes)


def spec(path: str | None, resolv_conf: str | None = None) -> dict[str, object]:
    """Make the part of a runtime specification that the broker reads."""
    namespaces = [{"type": "pid"}, {"type": "ipc"}]
    if path is not None:
        namespaces.append({"type": "network", "path": path})
    mounts = [{"destination": "/dev/shm", "type": "bind", "source": "/run/shm"}]
    if resolv_conf is not None:
        mounts.append({"destination": "/etc/resolv.conf", "type": "bind", "source": resolv_conf})
    return {"ociVersion": "1.0.2", "linux": {"namespaces": namespaces}, "mounts": mounts}


def status(
    pod: str,
    runtime_spec: object,
    sandbox_id: str = ID,
    state: int = READY,
    network: int = POD_NETWORK,
) -> bytes:
    """Encode PodSandboxStatusResponse."""
    return status_of_text(pod, json.dumps({"pid": 7, "runtimeSpec": runtime_spec}), sandbox_id, state, network)


def status_of_text(
    pod: str, info: str | None, sandbox_id: str = ID, state: int = READY, network: int = POD_NETWORK
) -> bytes:
    """Encode PodSandboxStatusResponse with any text as the information for debugging."""
    options = protobuf.message(2, protobuf.number(1, network), protobuf.number(2, 1))
    linux = protobuf.message(6, protobuf.message(1, options))
    encoded = protobuf.message(1, sandbox(pod, sandbox_id, state), linux)
    return encoded if info is None else encoded + protobuf.entry(2, "other", "{") + protobuf.entry(2, "info", info)


def version(name: str = "containerd", number: str = "1.6.20~ds1") -> bytes:
    """Encode VersionResponse."""
    return b"".join(protobuf.text(field, value) for field, value in enumerate(("0.1.0", name, number, "v1"), 1))
