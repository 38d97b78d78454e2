"""The policy of the soak: its users, and two configurations that differ in their rules and take turns."""

from __future__ import annotations

from typing import NamedTuple

from support.far_side import ALLOWED_4, ALLOWED_6
from support.namespaces import PREFIX
from support.users import UIDS

PROCESSES = 5
CLIENT_UIDS = UIDS[:PROCESSES]
CALM_UID, STOCK_UID, LIMITED_UID, CONTAINER_UID = UIDS[5:9]

STABLE, VOLATILE, CONTAINERS = "stable", "volatile", "web"
"""Namespaces and containers have these names, with a number."""
FORBIDDEN, TURNED, FIELD, NEAR = f"{PREFIX}forbidden0", f"{PREFIX}turned0", f"{PREFIX}field0", f"{PREFIX}near"
"""No grant covers the first. The second has a grant half of the time. The attackers have the third."""

PORT, SECOND_PORT, OTHER_PORT = 4000, 4001, 4002
"""A limited socket can always reach the first, half of the time the second, and never the third."""

BROKEN = "[[grant]]\nname = 1\n"
"""A reload refuses this, and keeps the former configuration."""

QUOTAS = "[quotas]\nrequests_per_second = 1000000\n"


class Policy(NamedTuple):
    """One of the two configurations. `has_turned` and `has_second_port` are the rules in which they differ."""

    has_turned: bool
    has_second_port: bool

    def grants(self, *, has_containers: bool) -> str:
        """Return the grants. A broker refuses a grant for containers if it knows no podman."""
        turned = _grant("turned", CLIENT_UIDS, [TURNED], ["tcp"]) if self.has_turned else ""
        containers = _grant("containers", [CONTAINER_UID], [f"podman:{CONTAINERS}*"], ["tcp", "udp"])
        ports = [PORT, SECOND_PORT] if self.has_second_port else [PORT]
        connect = [f"{host}:{port}" for host in (ALLOWED_4, f"[{ALLOWED_6}]") for port in ports]
        return f"""
{_grant("soak", [*CLIENT_UIDS, CALM_UID, STOCK_UID], [f"{PREFIX}{STABLE}*", f"{PREFIX}{VOLATILE}*"], ["tcp", "udp"])}
{turned}
{_grant("limited", [LIMITED_UID], [NEAR], ["tcp", "udp"])}
limit.connect = {connect}
{containers if has_containers else ""}
{_grant("attackers", ["*"], [FIELD], ["tcp", "udp", "packet"])}
"""


def _grant(name: str, users: list[int | str] | range, namespaces: list[str], sockets: list[str]) -> str:
    return f'[[grant]]\nname = "{name}"\nusers = {list(users)}\nnamespaces = {namespaces}\nsockets = {sockets}'


POLICIES = (Policy(has_turned=True, has_second_port=False), Policy(has_turned=False, has_second_port=True))
