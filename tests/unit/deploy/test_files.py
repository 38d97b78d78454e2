"""The files of deploy/ agree with the code."""

from __future__ import annotations

import re

from nsbrokerd.config import Config, parse_config
from nsbrokerd.sockets.capabilities import KEPT
from support.checkout import DEPLOY
from support.everybody import Everybody

EXAMPLE = DEPLOY / "nsbrokerd.toml"
SERVICE = (DEPLOY / "nsbrokerd.service").read_text()


def parse(text: str) -> Config:
    return parse_config((EXAMPLE.name, text), [], Everybody())


def settings(unit: str) -> dict[str, str]:
    lines = [line for line in unit.splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_example_is_valid() -> None:
    assert [grant.name for grant in parse(EXAMPLE.read_text()).policy.grants] == ["tenant web servers"]


def test_what_the_example_shows_as_default_is_the_default() -> None:
    """Each setting that is commented out has the default value, except for the place of the audit."""
    text = EXAMPLE.read_text()
    settings_only = text[: text.index("# Without a grant, a user gets no socket")]
    written_out = re.sub(r"^# (\w+ = )", r"\1", settings_only, flags=re.MULTILINE)
    assert written_out.count("\n# ") < settings_only.count("\n# ")
    default, written = parse(settings_only), parse(written_out)
    assert written.audit_path == "/var/log/nsbroker/audit.json"
    assert default.audit_path is None
    for field in ("socket_path", "socket_gid", "seal_path", "quotas", "log_level"):
        assert getattr(written, field) == getattr(default, field)


def test_example_with_every_comment_written_out_is_valid() -> None:
    """Also the grant at its end, and the groups."""
    text = EXAMPLE.read_text()
    text = re.sub(r"^# (\[\[grant|\w+ = (?:\"|\[|\{))", r"\1", text, flags=re.MULTILINE)
    first, second = parse(text).policy.grants
    assert (first.name, second.name) == ("tenant web servers", "monitoring")
    assert first.limit is not None
    assert second.limit is None


HARMFUL = {
    "IPAddressDeny", "IPAddressAllow", "IPIngressFilterPath", "IPEgressFilterPath", "RestrictNetworkInterfaces",
    "SocketBindDeny", "SocketBindAllow", "MemoryMax", "MemoryHigh", "PrivateNetwork", "RuntimeDirectory", "MountFlags",
    "BindPaths", "TemporaryFileSystem",
}  # fmt: skip


def test_unit_has_nothing_that_would_reach_handed_out_sockets() -> None:
    """The pins belong to this unit's control group forever, and a runtime directory would remove the socket."""
    assert settings(SERVICE).keys() & HARMFUL == set()


def test_unit_does_not_drop_audit_records() -> None:
    assert settings(SERVICE)["LogRateLimitIntervalSec"] == "0"


def test_unit_keeps_what_the_broker_needs() -> None:
    have = settings(SERVICE)
    assert set(have["CapabilityBoundingSet"].split()) == set(KEPT)
    assert have["RestrictNamespaces"] == "net"
    assert int(have["LimitNOFILE"]) >= parse('[broker]\nsocket_group = "x"').quotas.clients * 2


def test_unit_lets_the_broker_limit_sockets() -> None:
    """It has bpf(2), a control group of its own, and pins that outlive it. It can write no other part of /sys."""
    have = settings(SERVICE)
    assert (have["Delegate"], have["ProtectControlGroups"], have["ProtectKernelTunables"]) == ("yes", "yes", "yes")
    assert "bpf" in have["SystemCallFilter"].split()
    writable = re.findall(r"^ReadWritePaths=(.*)$", SERVICE, re.MULTILINE)
    assert " ".join(writable).split() == [
        "-/sys/fs/cgroup/system.slice/nsbrokerd.service",
        "-/sys/fs/bpf/nsbrokerd",
        "-/run/nsbroker",
    ]
    assert "d /sys/fs/bpf/nsbrokerd 0700 root root" in (DEPLOY / "tmpfiles.d" / "nsbroker.conf").read_text()


def test_unit_is_started_again_whatever_happens() -> None:
    """A start limit would end its socket unit as well, and clients could not connect until an administrator acts."""
    assert (settings(SERVICE)["Restart"], settings(SERVICE)["StartLimitIntervalSec"]) == ("on-failure", "0")


def test_socket_unit_and_configuration_mean_the_same_socket() -> None:
    socket_unit = settings((DEPLOY / "nsbrokerd.socket").read_text())
    assert socket_unit["ListenSequentialPacket"] == parse("").socket_path
    assert (socket_unit["SocketGroup"], socket_unit["SocketMode"]) == ("nsbroker", "0660")
    assert "g nsbroker" in (DEPLOY / "sysusers.d" / "nsbroker.conf").read_text()
