"""The line that systemctl status shows: the policy in force, and all faults."""

from __future__ import annotations

import structlog

from nsbrokerd.service.state import State


def test_line_has_the_policy_in_force_and_every_fault() -> None:
    shown: list[str] = []
    now = [0.0]
    state = State(shown.append, lambda: now[0])
    state.serve(3)
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):  # a fault that goes on is neither shown nor logged again
            state.note("the audit", "disk full")
        state.note("the last reload", "failed")
        now[0] = 3600.0
        state.serve(4)
        state.note("the audit", None)
        state.note("the audit", None)
    assert shown == [
        "serving (grants: 3, in force since 1970-01-01T00:00:00Z)",
        "serving (grants: 3, in force since 1970-01-01T00:00:00Z); the audit: disk full",
        "serving (grants: 3, in force since 1970-01-01T00:00:00Z); the audit: disk full; the last reload: failed",
        "serving (grants: 4, in force since 1970-01-01T01:00:00Z); the audit: disk full; the last reload: failed",
        "serving (grants: 4, in force since 1970-01-01T01:00:00Z); the last reload: failed",
    ]
    assert [(line["event"], line["log_level"], line["place"]) for line in lines] == [
        ("fault", "error", "the audit"),
        ("fault", "error", "the last reload"),
        ("repaired", "info", "the audit"),
    ]


def test_long_fault_is_cut() -> None:
    state = State(lambda _line: None)
    state.note("the audit", "x" * 100_000)
    assert len(str(state)) < 500
