"""A status as the broker tells it, with each of its parts."""

from __future__ import annotations

from typing import Any

STATUS: dict[str, Any] = {
    "version": "1.2.3",
    "pid": 4711,
    "started": "2023-11-14T22:13:20Z",
    "uptime_s": 93784,
    "policy": {"file": "/etc/nsbroker/nsbrokerd.toml", "grants": 2, "since": "2023-11-15T00:00:00Z"},
    "reload": {"time": "2023-11-15T00:00:01Z", "problem": "a mistake"},
    "walls": "both",
    "faults": {"the last reload": "failed: a mistake"},
    "engines": [
        {"engine": "podman", "asked": 5, "failed": 2, "fault": "podman did not answer"},
        {"engine": "docker", "asked": 0, "failed": 0, "fault": None},
    ],
    "clients": 3,
    "persons": 2,
    "requests": {"answered": {"open": 7, "namespaces": 1}, "refused": 4},
    "sockets": [
        {"uid": 0, "grant": 'web "1"', "namespace": "blue", "count": 6},
        {"uid": None, "grant": None, "namespace": None, "count": 1},
    ],
    "refusals": [{"uid": 0, "reason": "denied", "grant": "", "count": 4}],
    "is_short": False,
    "quotas": [
        {"quota": "clients_per_user", "used": 2, "most": 1024, "uid": 0},
        {"quota": "bytes of answers", "used": 0, "most": 100, "uid": None},
    ],
}
