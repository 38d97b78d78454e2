"""The configuration is read completely, and all its problems are named at once."""

from __future__ import annotations

import pytest

from nsbrokerd.clients.quotas import Quotas
from nsbrokerd.config import Config, ConfigError, parse_config
from nsbrokerd.policy import NamespaceRule


class FakeHost:
    """A host with the users alice and bob, and the groups web and nsbroker, that can't enforce limits."""

    def uid(self, name: str) -> int | None:
        return {"alice": 1000, "bob": 1001}.get(name)

    def gid(self, name: str) -> int | None:
        return {"web": 50, "nsbroker": 990}.get(name)

    def why_no_seal(self) -> str | None:
        return "there is no cgroup"

    def name_servers(self, namespaces: NamespaceRule) -> list[str]:
        return []


GRANT = '[[grant]]\nname = "web"\nusers = ["alice"]\nnamespaces = ["blue"]\nsockets = ["tcp"]\n'


def parse(main: str, *more: str) -> Config:
    return parse_config(("main.toml", main), [(f"{i}.toml", text) for i, text in enumerate(more)], FakeHost())


def problems(main: str, *more: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(main, *more)
    return [str(problem) for problem in caught.value.problems]


def test_an_empty_file_grants_nothing_and_has_the_defaults() -> None:
    config = parse("")
    assert config.policy.grants == ()
    assert config.quotas == Quotas()
    assert (config.socket_path, config.socket_gid) == ("/run/nsbroker/nsbroker.sock", 990)
    assert config.audit_path is None
    assert config.seal_path == "/sys/fs/bpf/nsbrokerd"


def test_every_setting_is_read() -> None:
    config = parse(
        '[broker]\nsocket = "/run/x.sock"\nsocket_group = "web"\nseal = "/sys/fs/bpf/x"\n'
        "[quotas]\nclients = 7\nclients_per_user = 3\nrequests_per_second = 11\npacket_bytes = 1024\n"
        'reply_timeout_s = 2\n[audit]\npath = "/var/log/audit"\n[log]\nlevel = "debug"\n'
    )
    assert config.quotas == Quotas(7, 3, 11, 1024, 2)
    assert (config.socket_path, config.socket_gid) == ("/run/x.sock", 50)
    assert config.seal_path == "/sys/fs/bpf/x"
    assert (config.audit_path, config.log_level) == ("/var/log/audit", "debug")


def test_a_grant_is_read_with_the_ids_of_its_users_and_groups() -> None:
    [grant] = parse(
        '[[grant]]\nname = "g"\nusers = ["alice", 1234]\ngroups = ["web"]\nnamespaces = ["a-*", "!a-x", "@host"]\n'
        'sockets = ["tcp", "netlink:route"]\nbind = ["*:80"]\noptions = ["mark=1"]\n'
    ).policy.grants
    assert grant.users == {1000, 1234}
    assert grant.groups == {50}
    assert grant.kinds == {"tcp", "netlink:route"}
    assert [rule.text for rule in grant.bind] == ["*:80"]
    assert [rule.text for rule in grant.options] == ["mark=1"]


def test_grants_of_all_files_count_in_their_order() -> None:
    config = parse(GRANT, GRANT.replace('"web"', '"second"'), GRANT.replace('"web"', '"third"'))
    assert [grant.name for grant in config.policy.grants] == ["web", "second", "third"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1", "main.toml:1: x: unknown key"),
        ("[broker]\nsockets = 1", "main.toml:2: broker.sockets: unknown key: did you mean 'socket'?"),
        ("[quotas]\nclients = 0", "main.toml:2: quotas.clients: must be 1..1000000, not 0"),
        ("[quotas]\nclients = true", "main.toml:2: quotas.clients: must be a number, not True"),
        ("[quotas]\npacket_bytes = 65537", "quotas.packet_bytes: must be 256..65536"),
        ('[broker]\nsocket = "relative"', "broker.socket: must be an absolute path"),
        ('[broker]\nsocket_group = "nope"', "broker.socket_group: there is no group 'nope'"),
        ('[log]\nlevel = "loud"', "log.level: must be one of debug, info, warning, error"),
        ("[[grant]", "main.toml: not valid TOML"),
        ("grant = 3", "main.toml:1: grant: must be a list"),
        ("grant = [3]", "main.toml:1: grant: must be written as [[grant]]"),
        (GRANT + 'color = "red"', "main.toml:6: grant 'web'.color: unknown key"),
        (GRANT + "limit = { connect = [] }", "grant 'web'.limit: this host can't enforce it: there is no cgroup"),
        (GRANT + 'units = ["x.service"]', "grant 'web'.units: a unit can't be proven"),
        (GRANT + 'bind = ["10.0.0.0/33:80"]', "grant 'web'.bind: '10.0.0.0/33'"),
        (GRANT + 'options = ["mark"]', "grant 'web'.options: 'mark' is not an option of a grant"),
        (GRANT.replace('"alice"', "-1"), "grant 'web'.users: -1 is not an id"),
        (GRANT.replace('"alice"', ""), "grant 'web'.users: the grant covers no user"),
        (GRANT.replace('"alice"', "true"), "grant 'web'.users: must be a list of strings or numbers, but it has True"),
        (GRANT.replace('"tcp"', '"tcpp"'), "grant 'web'.sockets: 'tcpp' is not a kind of socket: did you mean 'tcp'?"),
        (GRANT.replace('"tcp"', ""), "grant 'web'.sockets: the grant allows no socket"),
        (GRANT.replace('"blue"', '"a/b"'), "grant 'web'.namespaces: 'a/b' is not a name or pattern"),
        (GRANT.replace('"blue"', '"!a"'), "grant 'web'.namespaces: the grant covers no namespace"),
        (GRANT.replace('name = "web"', ""), "grant[0].name: a grant needs a name"),
        (GRANT + GRANT, "main.toml:7: grant 'web'.name: a grant in main.toml already has the name 'web'"),
    ],
)
def test_a_problem_names_file_key_and_reason(text: str, told: str) -> None:
    assert any(told in problem for problem in problems(text)), problems(text)


def test_unknown_user_is_left_out_and_the_others_are_served() -> None:
    """A user that was deleted must not keep all the others out. A misspelt id or group is left out, too."""
    text = GRANT.replace('"alice"', '"carol", "alice"') + 'groups = ["wheel"]\n' + GRANT.replace('"web"', '"stale"')
    config = parse(text.replace('users = ["alice"]', 'users = ["dave"]'))
    assert [(grant.name, grant.users, grant.groups) for grant in config.policy.grants] == [
        ("web", {1000}, frozenset()),
        ("stale", frozenset(), frozenset()),
    ]
    advice = "so the grant does not cover it: create it, or remove its name"
    assert [str(problem) for problem in config.warnings] == [
        f"main.toml:3: grant 'web'.users: there is no user 'carol', {advice}",
        f"main.toml:6: grant 'web'.groups: there is no group 'wheel', {advice}",
        f"main.toml:9: grant 'stale'.users: there is no user 'dave', {advice}",
    ]


def test_all_problems_of_all_files_are_told_at_once() -> None:
    told = problems("[quotas]\nclients = -1\nx = 2\n", GRANT.replace("tcp", "tpc"), "[broker]\n")
    assert len(told) == 4
    assert {problem.split(":")[0] for problem in told} == {"main.toml", "0.toml", "1.toml"}


def test_only_the_main_file_has_settings() -> None:
    assert problems("", '[audit]\npath = "/x"') == [
        "0.toml:1: audit: unknown key: correct its spelling or its place, or remove it"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[quotas]\nclients = " + 5000 * "9",
        "[quotas]\nclients = 0x" + 5000 * "f",
        "[quotas]\nclients = " + 20000 * "[",
        "[quotas]\nclients" + 5000 * ".a" + " = 1",
        "[log]\nlevel = 0b" + 20000 * "1",
        GRANT.replace('"alice"', "0x" + 5000 * "f"),
        GRANT.replace('"tcp"', "0x" + 5000 * "f"),
        '[broker]\nsocket = "/run/a\\u0000b"\n',
        '[audit]\npath = "/a\\u0000b"\n',
        GRANT.replace("alice", "a\\u0000b"),
        GRANT.replace("blue", "a\\u0000b"),
    ],
)
def test_what_no_file_should_have_is_a_problem_as_any_other(text: str) -> None:
    """A number of too many digits, brackets without end, tables in tables without end, a NUL in a name."""
    assert len(problems(text)) >= 1


def test_long_value_is_cut_in_the_message() -> None:
    [told] = problems(f'[quotas]\nclients = "{5000 * "x"}"\n')
    assert told == f"main.toml:2: quotas.clients: must be a number, not '{199 * 'x'}..."
