"""The files of deploy/ agree with the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib

import pytest

from nsbrokerd.config import Config, parse_config
from nsbrokerd.service.service_manager import CONTROL_NAME
from nsbrokerd.setup.shipped_files import directory
from nsbrokerd.sockets.capabilities import KEPT
from support.checkout import CHECKOUT, DEPLOY
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
    for field in ("socket_path", "socket_gid", "seal_path", "control_path", "quotas", "log_level"):
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


def test_unit_does_not_wait_for_porters() -> None:
    """A porter can hang in a client's file system, and ends by no signal."""
    assert settings(SERVICE)["KillMode"] == "process"


def test_socket_unit_and_configuration_mean_the_same_socket() -> None:
    socket_unit = settings((DEPLOY / "nsbrokerd.socket").read_text())
    assert socket_unit["ListenSequentialPacket"] == parse("").socket_path
    assert (socket_unit["SocketGroup"], socket_unit["SocketMode"]) == ("nsbroker", "0660")
    assert "g nsbroker" in (DEPLOY / "sysusers.d" / "nsbroker.conf").read_text()


def test_control_socket_is_for_the_group_of_the_status() -> None:
    """The broker takes it by its name, and starts with or without it."""
    unit = settings((DEPLOY / "nsbrokerd-control.socket").read_text())
    assert unit["ListenSequentialPacket"] == parse("").control_path
    assert (unit["SocketUser"], unit["SocketGroup"], unit["SocketMode"]) == ("root", "nsbroker-status", "0660")
    assert (unit["FileDescriptorName"], unit["Service"]) == (CONTROL_NAME, "nsbrokerd.service")
    assert "g nsbroker-status" in (DEPLOY / "sysusers.d" / "nsbroker.conf").read_text()
    assert settings(SERVICE)["Sockets"].split() == ["nsbrokerd.socket", "nsbrokerd-control.socket"]
    assert settings((DEPLOY / "nsbrokerd.socket").read_text())["Wants"] == "nsbrokerd-control.socket"


def test_systemctl_reload_waits_for_the_outcome() -> None:
    program = settings(SERVICE)["ExecStart"].split()[0]
    assert settings(SERVICE)["ExecReload"] == f"{program} reload"


QUADLET = (DEPLOY / "container" / "nsbroker.container").read_text()


def test_quadlet_has_the_rights_of_the_unit() -> None:
    """It is the same service behind the same sockets, with a read-only root."""
    have = settings(QUADLET)
    assert {f"CAP_{name}" for name in have["AddCapability"].split()} == set(KEPT)
    assert (have["DropCapability"], have["ReadOnly"], have["NoNewPrivileges"]) == ("all", "true", "true")
    assert (have["ServiceName"], have["Network"], have["Notify"]) == ("nsbrokerd", "host", "true")
    assert have["Sockets"] == settings(SERVICE)["Sockets"]
    assert have.keys() & HARMFUL == set()


@pytest.mark.parametrize("name", ["passwd", "group", "subuid", "subgid"])
def test_broker_in_a_container_knows_the_users_of_the_host(name: str) -> None:
    """Otherwise, each uid that is delegated to a user would count as a user of its own."""
    volume = f"/etc/{name}:/etc/{name}:ro"
    assert f"\nVolume={volume}\n" in QUADLET
    assert f"-v {volume} " in (DEPLOY / "docs" / "containers.md").read_text()


def test_quadlet_sees_later_names_and_keeps_limits_and_audit() -> None:
    volumes = re.findall(r"^Volume=(.*)$", QUADLET, re.MULTILINE)
    assert {"/run/netns:/run/netns:ro,rslave", "/sys/fs/bpf:/sys/fs/bpf"} <= set(volumes)
    have = settings(QUADLET)
    assert (have["LogDriver"], have["LogRateLimitIntervalSec"]) == ("passthrough", "0")
    assert (have["Restart"], have["StartLimitIntervalSec"]) == ("on-failure", "0")


MAX_EXPOSURE_OF_METRICS = 2.0


def test_exporter_has_next_to_no_power() -> None:
    """Its unit starts it as a user of its own, whose only right is to read the status."""
    unit = settings((DEPLOY / "nsbrokerd-metrics.service").read_text())
    program = settings(SERVICE)["ExecStart"].split()[0]
    assert unit["ExecStart"] == f"{program} metrics --listen 127.0.0.1:9758"
    assert (unit["DynamicUser"], unit["SupplementaryGroups"]) == ("yes", "nsbroker-status")
    assert (unit["CapabilityBoundingSet"], unit["NoNewPrivileges"]) == ("", "yes")


def test_exposure_of_the_exporter_is_low() -> None:
    """`systemd-analyze security` counts it: 0 is a service without any power, and 10 is one with every power."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    line = ["systemd-analyze", "security", "--offline=true", "--no-pager", DEPLOY / "nsbrokerd-metrics.service"]
    table = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    found = re.search(r"exposure level for nsbrokerd-metrics.service: ([0-9.]+)", table)
    assert found is not None
    assert float(found[1]) <= MAX_EXPOSURE_OF_METRICS


NOT_INSTALLED = {
    "CHANGELOG.md",
    "container",
    "debian",
    "demo",
    "docs",
    "kubernetes",
    "package",
    "quickstart",
    "services",
}


def test_wheel_carries_the_files_of_a_host() -> None:
    """And the licence. They are files of deploy/, so both packages have the same."""
    build = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    carried = build["targets"]["wheel"]["force-include"]
    names = {path.name for path in DEPLOY.iterdir()} - NOT_INSTALLED
    assert carried == {f"deploy/{name}": f"nsbrokerd/share/{name}" for name in names}


def test_installation_finds_them() -> None:
    """In the wheel, or in the checkout."""
    share = directory()
    for name in {path.name for path in DEPLOY.iterdir()} - NOT_INSTALLED:
        for path in [DEPLOY / name, *(DEPLOY / name).rglob("*")]:
            if path.is_file():
                assert (share / path.relative_to(DEPLOY)).read_bytes() == path.read_bytes()


def test_every_unit_starts_the_program_that_the_packages_replace() -> None:
    for path in DEPLOY.glob("*.service"):
        programs = re.findall(r"^Exec\w+=(\S*nsbroker\S*)", path.read_text(), re.MULTILINE)
        assert set(programs) == {"/opt/nsbroker/bin/nsbrokerd"}, path.name
