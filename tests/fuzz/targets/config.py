"""The configuration: a text is refused with a list of problems, or its policy decides about everything."""

from __future__ import annotations

import tomllib
from typing import Any

from nsbroker.wire import Explanation, SocketSpec
from nsbrokerd.config import Config, ConfigError, parse_config
from nsbrokerd.policy import NamespaceRule, Subject
from nsbrokerd.policy.explain import explain
from nsbrokerd.policy.kinds import KINDS, triples_of
from nsbrokerd.policy.plans import Refusal, plan
from nsbrokerd.seal.layout import decode_name, encode_limit, encode_name

from ..target import Target

FILE = "main.toml"
KNOWN: dict[str, Any] = {
    "broker": {"socket": str, "socket_group": str, "seal": str},
    "quotas": {"clients": int, "clients_per_user": int, "requests_per_second": int, "packet_bytes": int,
               "reply_timeout_s": int},
    "audit": {"path": str},
    "log": {"level": str},
    "grant": [{"name": str, "users": list, "groups": list, "namespaces": list, "sockets": list, "bind": list,
               "options": list, "limit": {"connect": list, "bind": list}}],
}  # fmt: skip
"""Every key that a file may have, with the type of its value: written down again, so that a new key is a decision."""

SUBJECTS = (Subject(0, frozenset({0})), Subject(1000, frozenset({50, 1000})), Subject(2**32 - 2, frozenset()))
NAMESPACES = ("@host", "blue", "tenant-a", "\n*[", "x" * 255)
HOSTS = {2: ("0.0.0.0", "10.1.2.3", "255.255.255.255"), 10: ("::", "fd00::1", "::ffff:10.0.0.1")}
OPTIONS = ((), ((1, 36, 16),), ((1, 25, b"eth0"), (0, 19, 1)))


class FakeHost:
    """A host that can enforce limits, with a few users and groups."""

    def uid(self, name: str) -> int | None:
        return {"alice": 1000, "root": 0}.get(name)

    def gid(self, name: str) -> int | None:
        return {"web": 50, "nsbroker": 990}.get(name)

    def why_no_seal(self) -> str | None:
        return None

    def name_servers(self, namespaces: NamespaceRule) -> list[str]:
        return ["192.0.2.1", "fd00::53"] if namespaces.covers("blue") else ["127.0.0.53"]


def check(data: bytes) -> None:
    """Check the text of one file."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # The loader refuses it.
    config = parse(text)
    if config is None:
        return
    check_keys(tomllib.loads(text), KNOWN)
    assert parse(f"{text}\nan-unknown-key = 1\n") is None, "an unknown key is accepted"
    assert parse(f"{text}\n[another-table]\n") is None, "an unknown table is accepted"
    check_decisions(config)


def parse(text: str) -> Config | None:
    """Parse a text, or return None if it has problems. Each of them must name its place and its reason."""
    try:
        return parse_config((FILE, text), [], FakeHost())
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.file == FILE
            assert problem.reason
            assert str(problem).startswith(f"{FILE}:")
        return None


def check_keys(value: Any, known: Any) -> None:
    """Check that an accepted file has only known keys with values of their types."""
    if isinstance(known, dict):
        assert type(value) is dict
        for key, inner in value.items():
            assert key in known, f"the unknown key {key} is accepted"
            check_keys(inner, known[key])
    elif isinstance(known, list):
        assert type(value) is list
        for item in value:
            check_keys(item, known[0])
    else:
        assert type(value) is known, f"{value!r} is accepted in place of a {known.__name__}"


def check_decisions(config: Config) -> None:
    """Ask the policy about sockets of some kinds: it decides, in agreement with `explain`, and can be enforced."""
    policy = config.policy
    for grant in policy.grants:
        grant.summarise()
        assert decode_name(encode_name(grant.name)) == grant.name
        if grant.limit is not None:
            encode_limit(grant.limit)
    kinds = sorted({kind for grant in policy.grants for kind in grant.kinds})[:4] or KINDS[:1]
    for subject in SUBJECTS:
        policy.decide_lookup(subject, NAMESPACES)
        for number, kind in enumerate(kinds):
            family, type_, proto = triples_of(kind)[0]
            namespace = NAMESPACES[(number + len(policy.grants)) % len(NAMESPACES)]
            hosts = HOSTS.get(family, ())
            for index, host in enumerate(hosts):
                tail = () if family == 2 else (0, 0)
                bind: Any = (host, (0, 80, 8080)[index], *tail)
                spec = SocketSpec(namespace, family, type_, proto, bind, None, OPTIONS[index])
                allowed = not isinstance(plan((spec,), policy, subject, {}), Refusal)
                explained = explain(spec, bind, policy, subject, {})
                assert isinstance(explained, Explanation)
                assert allowed == (explained.by is not None), "explain and open disagree"


WORDS = (
    "[[grant]]", "[broker]", "[quotas]", "[audit]", "[log]", *KNOWN, *KNOWN["broker"], *KNOWN["quotas"],
    *KNOWN["grant"][0], "level", "path", "connect", "[grant.limit]", "\n", " = ", "[]", '["*"]', '["@host"]',
    '["@own"]', '["!a"]', '["[a-z]*"]', '["tcp"]', '["raw:icmp", "udp"]', '["*:80"]', '["10.0.0.0/8:1-9"]',
    '["[fd00::/8]:*"]', '["mark=0x10"]', '["bind_device=eth*"]', '["transparent"]', '"""', "'''", "0x", "1e9", "inf",
    "1979-05-27", "{ ", " }", ".a.a.a.a", "limit = { connect = [] }", "\\u0000", "\\U0010ffff", "# ", "true",
)  # fmt: skip
TARGET = Target(check, tuple(word.encode() for word in dict.fromkeys(WORDS)))
