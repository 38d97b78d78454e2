"""`nsbroker-get NS explain`, as an unprivileged user: which grant says yes, or what each of them lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support import namespaces
from support.brokers.process import running
from support.namespaces import PREFIX
from support.tool.running import RunTool, run_tool
from support.users import OTHER_USER, USER

BLUE, LATER, RED = (f"{PREFIX}{label}" for label in ("blue", "later", "red"))

GRANTS = f"""
[[grant]]
name = "web"
users = [{USER}]
namespaces = ["{BLUE}", "{LATER}"]
sockets = ["tcp", "unix", "netlink:route"]
bind = ["*:80"]
options = ["mark=0x10"]

[[grant]]
name = "limited"
users = [{USER}]
namespaces = ["{BLUE}"]
sockets = ["udp", "raw:icmp"]
limit = {{ connect = ["10.0.0.0/8:53", "192.0.2.1:*"] }}

[[grant]]
name = "second"
users = [{USER}]
namespaces = ["{BLUE}"]
sockets = ["udp"]
limit = {{ connect = ["[fd00::1]:53"] }}

[[grant]]
name = "of another user"
users = [{OTHER_USER}]
namespaces = ["*"]
sockets = ["icmp"]
"""
ASK_ONE = "ask the administrator to add this to one of these grants, or for a grant of your own: see nsbrokerd.toml(5)"
ASK = "ask the administrator for a grant there: see nsbrokerd.toml(5). nsbroker-get list shows all that you may use"
ANYWHERE = "afterwards you can connect it to any address, and bind it to any address"
HIGH_PORTS = f"{ANYWHERE} with a port from 1024 on, unless the namespace allows lower ones"
LOW_PORTS = "only the broker can bind lower ports, when it makes the socket: *:80"


@pytest.fixture(scope="module")
def run() -> Iterator[RunTool]:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    with running(GRANTS) as broker, run_tool(broker) as tool:
        yield tool


@pytest.fixture(autouse=True)
def blue(make_namespace: Callable[..., str]) -> str:
    return make_namespace("blue")


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        (["tcp"], [f"allowed: a tcp socket in {BLUE}, by grant 'web'", HIGH_PORTS, LOW_PORTS]),
        (["unix"], [f"allowed: a unix socket in {BLUE}, by grant 'web'", ANYWHERE]),
        (["netlink:route"], [f"allowed: a netlink:route socket in {BLUE}, by grant 'web'", ANYWHERE]),
        (
            ["tcp", "--bind", ":80", "--mark", "0x10", "--freebind"],
            [
                f"allowed: a tcp socket in {BLUE}, by grant 'web'",
                "the broker binds it to :80 with its own rights",
                HIGH_PORTS,
                LOW_PORTS,
            ],
        ),
        (
            ["--bind=[fe80::1%eth0]:8080", "tcp", "--connect", "[fe80::2%eth0]:80"],
            [
                f"allowed: a tcp socket in {BLUE}, by grant 'web'",
                "the broker binds it to [fe80::1%eth0]:8080 without any rights, so the kernel decides",
                "connecting it to [fe80::2%eth0]:80 is allowed",
                HIGH_PORTS,
                LOW_PORTS,
            ],
        ),
        (
            ["udp", "--connect", "10.1.2.3:53"],
            [
                f"allowed: a udp socket in {BLUE}, by grant 'limited'",
                "connecting it to 10.1.2.3:53 is allowed",
                "afterwards you can connect it to 10.0.0.0/8:53, 192.0.2.1:*, and bind it to any address with a port "
                "from 1024 on, unless the namespace allows lower ones",
                "only the broker can bind lower ports, when it makes the socket: this grant lists none",
            ],
        ),
        (
            ["raw:icmp", "--connect", "192.0.2.1"],
            [
                f"allowed: a raw:icmp socket in {BLUE}, by grant 'limited'",
                "connecting it to 192.0.2.1 is allowed",
                "afterwards you can connect it to 10.0.0.0/8:53, 192.0.2.1:*, and bind it to any address",
            ],
        ),
    ],
)
def test_allowed_socket_has_its_grant_and_its_reach(run: RunTool, args: list[str], lines: list[str]) -> None:
    assert run(BLUE, "explain", *args) == (0, "".join(f"{line}\n" for line in lines), "")


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        (
            ["icmp"],
            [
                f"denied: grants 'web', 'limited', 'second' allow no icmp sockets in namespace '{BLUE}'",
                "grant 'web' lacks sockets icmp",
                "grant 'limited' lacks sockets icmp",
                "grant 'second' lacks sockets icmp",
                ASK_ONE,
            ],
        ),
        (
            ["tcp", "--bind", "81", "--transparent"],
            [
                "denied: grant 'web' does not allow option transparent",
                "grant 'web' lacks options transparent and bind 0.0.0.0:81",
                "grant 'limited' lacks sockets tcp and options transparent and bind 0.0.0.0:81",
                "grant 'second' lacks sockets tcp and options transparent and bind 0.0.0.0:81",
                ASK_ONE,
            ],
        ),
        (
            ["udp", "-6", "--connect", "[fd00::1%eth0]:53"],
            [
                "denied: port 53 of fd00::1 is not in limit.connect of grant 'limited'",
                "the socket alone is allowed, by grant 'limited'",
                "grant 'web' lacks sockets udp",
                "grant 'limited' lacks limit.connect [fd00::1]:53",
                "grant 'second' allows all of it, but the broker prefers grant 'limited'",
                ASK_ONE,
            ],
        ),
        (
            ["raw:icmp", "--connect", "10.0.0.1"],
            [
                "denied: 10.0.0.1:* is not in limit.connect of grant 'limited'",
                "the socket alone is allowed, by grant 'limited'",
                "grant 'web' lacks sockets raw:icmp",
                "grant 'limited' lacks limit.connect 10.0.0.1:*",
                "grant 'second' lacks sockets raw:icmp and limit.connect 10.0.0.1:*",
                ASK_ONE,
            ],
        ),
    ],
)
def test_denied_socket_has_the_reason_and_what_each_grant_lacks(
    run: RunTool, args: list[str], lines: list[str]
) -> None:
    assert run(BLUE, "explain", *args) == (1, "".join(f"{line}\n" for line in lines), "")


def test_namespace_without_a_grant(run: RunTool, make_namespace: Callable[..., str]) -> None:
    """The answer is the same whether it exists or not, and has nothing of another user's grant."""
    lines = f"denied: no grant of uid {USER} covers namespace '{RED}'\n{ASK}\n"
    assert run(RED, "explain", "icmp") == (1, lines, "")
    make_namespace("red")
    assert run(RED, "explain", "icmp") == (1, lines, "")


def test_namespace_that_does_not_exist_yet(run: RunTool) -> None:
    done = run(LATER, "explain", "tcp")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"allowed: a tcp socket in {LATER}, by grant 'web'",
        HIGH_PORTS,
        LOW_PORTS,
        f"{LATER} does not exist now: nsbroker-get --wait SECONDS waits for it",
    ]
    denied = run(LATER, "explain", "udp")
    assert (denied.status, denied.out.splitlines()[-1]) == (1, done.out.splitlines()[-1])


def test_namespace_by_its_path(run: RunTool) -> None:
    path = f"/run/netns/{BLUE}"
    done = run(path, "explain", "tcp")
    assert (done.status, done.out.splitlines()[0]) == (0, f"allowed: a tcp socket in {path}, by grant 'web'")
    assert run("/run/netns/../netns/" + BLUE, "explain", "icmp").status == 1


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ([], "explain takes one KIND"),
        (["tcp", "udp"], "explain takes one KIND"),
        (["tpc"], "unknown kind tpc: use one of tcp, udp, "),
        (["tcp", "--connect", "www.example.org:80"], "--connect takes an address, not the name 'www.example.org': "),
        (["tcp", "--connect", "localhost:80"], "--connect takes an address, not the name 'localhost': "),
        (["tcp", "--bind", "www.example.org:80"], "--bind takes an address, not the name 'www.example.org': "),
        (["tcp", "--connect", ":80"], "--connect takes ADDRESS:PORT, not ':80'"),
        (["tcp", "--connect", "10.0.0.1"], "--connect takes ADDRESS:PORT, not '10.0.0.1'"),
        (["tcp", "--connect", "10.0.0.1:65536"], "'65536' is no port number"),
        (["tcp", "--connect", "10.0.0.1:80", "--bind", "[::1]:80"], "::1 is no address for -4"),
        (["unix", "--bind", "@name"], "--bind is not for unix: a grant covers these sockets with every address"),
        (["packet", "--connect", "10.0.0.1:80"], "--connect is not for packet: a grant covers"),
        (["netlink:route", "--mark", "1"], "netlink sockets have none of --mark, --transparent and --freebind"),
        (["tcp", "--option", "mark=1"], "unknown option --option"),
    ],
)
def test_wrong_usage_is_no_answer(run: RunTool, args: list[str], line: str) -> None:
    """Its status differs from that of a denied socket."""
    done = run(BLUE, "explain", *args)
    assert (done.status, done.out) == (125, "")
    assert done.err.startswith(f"nsbroker-get: {line}")
    assert done.err.count("\n") == 1
