"""Limits of grants are read completely, and an unenforceable limit is refused with the reason."""

from __future__ import annotations

import pytest

from nsbrokerd.config import ConfigError, parse_config
from nsbrokerd.policy import Limit, NamespaceRule
from nsbrokerd.policy.kinds import KINDS
from nsbrokerd.policy.limit import MAX_RULES


class FakeHost:
    """A host that can enforce limits, unless a reason says why not."""

    def __init__(
        self, reason: str | None = None, servers: tuple[str, ...] = (), no_second_wall: str | None = None
    ) -> None:
        self.reason = reason
        self.servers = servers
        self.no_second_wall = no_second_wall

    def uid(self, _name: str) -> int | None:
        return 1000

    def gid(self, _name: str) -> int | None:
        return 1000

    def why_no_seal(self) -> str | None:
        return self.reason

    def why_no_second_wall(self) -> str | None:
        return self.no_second_wall

    def name_servers(self, namespaces: NamespaceRule) -> tuple[str, ...]:
        return self.servers if namespaces.covers("blue") else ()


CAN = FakeHost()


def grant(limit: str, *kinds: str) -> str:
    sockets = ", ".join(f'"{kind}"' for kind in kinds or ("tcp", "udp"))
    return f'[[grant]]\nname = "g"\nusers = ["*"]\nnamespaces = ["blue"]\nsockets = [{sockets}]\n{limit}\n'


def limit_of(text: str, host: FakeHost = CAN) -> Limit | None:
    [read] = parse_config(("main", grant(text)), [], host).policy.grants
    return read.limit


def problems(text: str, host: FakeHost = CAN) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(("main", text), [], host)
    return [str(problem) for problem in caught.value.problems]


def texts(rules: object) -> list[str]:
    assert isinstance(rules, tuple)
    return [rule.text for rule in rules]


def test_grant_without_limit_has_none_even_where_none_can_be_enforced() -> None:
    assert limit_of("", FakeHost("no cgroup", ("192.0.2.1",))) is None


def test_absent_direction_is_anywhere_and_empty_one_nowhere() -> None:
    limit = limit_of("limit = { connect = [] }")
    assert limit == Limit(connect=(), bind=None)
    limit = limit_of('limit = { bind = ["*:80", "[fd00::/8]:8000-8999"] }')
    assert limit is not None
    assert (limit.connect, texts(limit.bind)) == (None, ["*:80", "[fd00::/8]:8000-8999"])


def test_name_servers_of_the_namespaces_are_added_where_something_is_reachable() -> None:
    """Each server is there once, unless a rule covers it already. An empty list stays empty."""
    host = FakeHost(servers=("192.0.2.1", "10.1.1.1", "fd00::1", "::ffff:192.0.2.1", "192.0.2.1"))
    limit = limit_of('limit = { connect = ["10.0.0.0/8:*"], bind = [] }', host)
    assert limit is not None
    assert texts(limit.connect) == ["10.0.0.0/8:*", "192.0.2.1:53", "[fd00::1]:53"]
    assert limit.bind == ()
    assert limit_of("limit = { connect = [] }", host) == Limit(connect=())
    assert limit_of("limit = { bind = [] }", host) == Limit(bind=())


@pytest.mark.parametrize(
    ("limit", "kinds", "told"),
    [
        ("limit = {}", (), "limit: the limit is empty"),
        ("limit = { conect = [] }", (), "limit.conect: unknown key"),
        ("limit = { connect = [], color = 1 }", (), "limit.color: unknown key"),
        ("limit = []", (), "limit: must be a table"),
        ('limit = { connect = "*:80" }', (), "limit.connect: must be a list"),
        ("limit = { bind = [80] }", (), "limit.bind: must be a list of strings"),
        ('limit = { bind = ["10.0.0.1/8:80"] }', (), "limit.bind: '10.0.0.1/8'"),
        ('limit = { connect = ["example.org:80"] }', (), "limit.connect: 'example.org'"),
        (
            "limit = { connect = [] }",
            ("packet",),
            "limit: packet sockets can't be limited: they do not use IP",
        ),
        (
            "limit = { connect = [] }",
            ("tcp", "unix"),
            "limit: unix sockets can't be limited: they do not use IP",
        ),
        ("limit = { connect = [] }", ("netlink:route",), "limit: netlink:route sockets can't be limited"),
        ("limit = { connect = [] }", ("raw:raw",), "limit: raw:raw sockets can't be limited: they write the headers"),
        (
            "limit = { bind = [] }",
            ("raw:icmp",),
            "limit.bind: raw:icmp sockets can't be limited: the kernel runs",
        ),
        ("limit = { connect = [], bind = [] }", ("udp", "icmp"), "limit.bind: icmp sockets can't be limited"),
    ],
)
def test_what_means_nothing_or_can_not_be_held_is_refused(limit: str, kinds: tuple[str, ...], told: str) -> None:
    said = problems(grant(limit, *kinds))
    assert any(problem.startswith(f"main:6: grant 'g'.{told}") for problem in said), said


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("packet", "unix", "raw:raw")])
def test_every_other_kind_of_ip_socket_can_be_limited_in_where_it_goes(kind: str) -> None:
    text = grant("limit = { connect = [] }", kind)
    if kind.startswith("netlink:"):
        assert len(problems(text)) == 1
    else:
        assert parse_config(("main", text), [], CAN).policy.grants[0].limit == Limit(connect=())


def test_host_that_can_not_enforce_limits_refuses_them_with_its_reason() -> None:
    [problem] = problems(grant("limit = { connect = [] }"), FakeHost("there is no cgroup v2"))
    assert problem == "main:6: grant 'g'.limit: this host can't enforce it: there is no cgroup v2"


@pytest.mark.parametrize("key", ["connect", "bind"])
def test_more_addresses_than_the_kernel_has_room_for_are_refused(key: str) -> None:
    def rules(count: int) -> str:
        return ", ".join(f'"*:{port}"' for port in range(1000, 1000 + count))

    assert limit_of(f"limit = {{ {key} = [{rules(MAX_RULES)}] }}")
    [problem] = problems(grant(f"limit = {{ {key} = [{rules(MAX_RULES + 1)}] }}"))
    assert f"grant 'g'.limit.{key}: {MAX_RULES + 1} rules are too many" in problem


def test_name_servers_count_among_the_addresses() -> None:
    rules = ", ".join(f'"*:{port}"' for port in range(1000, 1000 + MAX_RULES))
    [problem] = problems(grant(f"limit = {{ connect = [{rules}] }}"), FakeHost(servers=("192.0.2.1",)))
    assert f"{MAX_RULES + 1} rules are too many: use at most {MAX_RULES}, including those of the name" in problem


def test_sctp_needs_the_second_wall() -> None:
    """The first wall does not see the sockets that SCTP accepts. No other kind needs the second one."""
    weak = FakeHost(no_second_wall="the kernel refuses its programs")
    said = problems(grant("limit = { connect = [] }", "tcp", "sctp"), weak)
    assert said == [
        "main:6: grant 'g'.limit: sctp sockets can't be limited: they need the second wall, which this host can't "
        "have: the kernel refuses its programs: move them to a grant without this limit"
    ]
    others = grant("limit = { connect = [] }", "tcp", "udp", "udplite", "mptcp", "icmp", "raw:icmp")
    assert parse_config(("main", others), [], weak) == parse_config(("main", others), [], CAN)
    assert parse_config(("main", grant("limit = { connect = [], bind = [] }", "sctp")), [], CAN)
