"""The exit status of `nsbrokerd revoke`, as far as it needs no kernel."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import pytest

from nsbrokerd.commands import revoke

REASON = "the second wall lacks socket_sendmsg"


@pytest.mark.parametrize(("reason", "status"), [(None, 0), (REASON, 1)])
def test_revoke_fails_if_the_kernel_refuses_a_hook_that_its_sockets_need(
    reason: str | None, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so, and does the rest."""
    paths = SimpleNamespace(seal="/nowhere", control="/nowhere")
    for name, result in (
        ("read_paths", paths),
        ("warn_about", None),
        ("Gate", None),
        ("_select", None),
        ("_check_kernel", None),
        ("_revoke", (1, ["1 socket revoked"])),
        ("describe_walls", []),
        ("live_sockets", []),
        ("find_unlimited", SimpleNamespace(sockets=[], notes=[])),
    ):
        monkeypatch.setattr(revoke, name, lambda *_, result=result: result)
    monkeypatch.setattr(
        revoke,
        "seal",
        SimpleNamespace(is_installed=lambda _: True, why_not_stopped=lambda _: reason, detach_in_child=lambda _: None),
    )
    assert revoke.run(argparse.Namespace(config="/nowhere")) == status
    output = capsys.readouterr()
    assert output.out == "1 socket revoked\n"
    assert (REASON in output.err) is (reason is not None)
