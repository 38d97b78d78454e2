"""`nsbrokerd check` and `explain`: their answers about good and broken configurations."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from nsbrokerd.commands import check as check_module
from nsbrokerd.commands.check import Limits, check
from nsbrokerd.commands.explain import explain
from nsbrokerd.config import load
from nsbrokerd.seal import WallError, why_no_second_wall, why_not_listed
from support.brokers.process import START_S, BrokerProcess
from support.resident import move_into_new
from support.users import as_unprivileged

# Source: include/uapi/linux/sched.h, mount.h.
CLONE_NEWNS, MS_REC, MS_SLAVE, MNT_DETACH = 0x20000, 0x4000, 1 << 19, 2

GRANT = """
[[grant]]
name = "web"
users = ["root", 12345]
namespaces = ["blue", "@host"]
sockets = ["tcp", "udp"]
bind = ["*:80", "10.0.0.0/8:443"]
options = ["mark=0x10"]
"""
PROBLEMS = {
    "an unknown key": ("[quotas]\nclient = 3\n", GRANT, ["quotas.client: unknown key"]),
    "an unknown section": ("[limit]\nclients = 3\n", GRANT, ["limit: unknown key"]),
    "a bad network": (
        "", GRANT.replace("10.0.0.0/8", "10.0.0.1/8"), ["grant 'web'.bind: '10.0.0.1/8': 10.0.0.1/8 has"],
    ),
    "a limit that nothing could hold": (
        "", GRANT.replace('"udp"', '"unix"') + 'limit = { connect = [] }\n',
        ["grant 'web'.limit: unix sockets can't be limited: they do not use IP addresses"],
    ),
    "an unknown limit": ("", GRANT + "limit = { bind = [], binds = [] }\n", ["grant 'web'.limit.binds: unknown key"]),
    "no TOML": ("", "[[grant]\n", [": not valid TOML: "]),
    "many at once": (
        "[log]\nlevel = 'loud'\n",
        GRANT.replace("tcp", "tpc").replace("mark=", "marc=") + GRANT.replace("blue", "a/b"),
        ["log.level: must be one of", "grant 'web'.sockets: 'tpc'", "grant 'web'.options: 'marc=0x10'",
         "grant 'web'.namespaces: ", "grant 'web'.name: a grant in"],
    ),
}  # fmt: skip


@pytest.fixture
def configured() -> Iterator[BrokerProcess]:
    """A broker that is not started."""
    broker = BrokerProcess(GRANT)
    yield broker
    broker.close()


@pytest.fixture
def command(configured: BrokerProcess) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `nsbrokerd VERB --config ... ARGUMENTS`."""

    def run(verb: str, *arguments: str, before: Callable[[], object] | None = None) -> subprocess.CompletedProcess[str]:
        *python, _, option, path = configured.command()
        line = [*python, verb, option, path, *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=START_S, check=False, preexec_fn=before)

    return run


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("verb", ["check", "serve"])
@pytest.mark.parametrize(("settings", "grants", "problems"), PROBLEMS.values(), ids=PROBLEMS)
def test_every_problem_is_said_with_file_key_and_reason(
    configured: BrokerProcess, command: Command, verb: str, settings: str, grants: str, problems: list[str]
) -> None:
    configured.configure(grants, settings)
    done = command(verb)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == len(problems), done.stderr
    for problem in problems:
        place = re.escape(str(configured.config_path)) + r"(:\d+)?: " + re.escape(problem.removeprefix(": "))
        assert any(re.search(place, line) for line in lines), done.stderr
    assert not configured.socket_path.exists()


@pytest.mark.parametrize("verb", ["check", "serve"])
def test_problems_of_all_files_are_said(configured: BrokerProcess, command: Command, verb: str) -> None:
    """Those that can't be read, or that others can write, among them."""
    directory = configured.directory / "grants.d"
    directory.mkdir()
    (directory / "a.toml").write_text("[[grant]]\nnam = 'x'\n")
    (directory / "b.toml").write_bytes(b"\xff")
    (directory / "c.toml").write_text("")
    (directory / "c.toml").chmod(0o666)
    (directory / "d.toml").symlink_to("missing")
    done = command(verb)
    assert done.returncode == 1
    for file, reason in [("a", "nam: unknown key"), ("b", "can't be read"), ("c", "other than root"), ("d", "read")]:
        assert any(f"{file}.toml" in line and reason in line for line in done.stderr.splitlines()), done.stderr


@pytest.mark.parametrize("verb", ["check", "serve"])
@pytest.mark.parametrize(("uid", "mode"), [(0, 0o620), (0, 0o602), (12345, 0o600)])
def test_configuration_that_others_can_write_is_refused(
    configured: BrokerProcess, command: Command, verb: str, uid: int, mode: int
) -> None:
    """Whoever writes it has every socket of the host."""
    configured.config_path.chmod(mode)
    os.chown(configured.config_path, uid, -1)
    done = command(verb)
    assert (done.returncode, "users other than root can write it" in done.stderr) == (1, True), done.stderr


def test_sound_configuration_is_said_to_be_sound(configured: BrokerProcess, command: Command) -> None:
    done = command("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{configured.config_path}: no problem (grants: 1)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--user", "root", "blue", "tcp"], 0, "by grant 'web'"),
        (["--user", "12345", "blue", "tcp", "--bind", "0.0.0.0:80"], 0, "with the broker's rights"),
        (
            ["--user", "12345", "@host", "udp", "--bind", "10.1.2.3:8080"],
            0,
            "without capabilities",
        ),
        (["--user", "root", "blue", "tcp", "--option", "mark=16"], 0, "by grant 'web'"),
        (["--user", "nobody", "blue", "tcp"], 1, "no grant covers uid 65534 or its groups"),
        (["--user", "root", "green", "tcp"], 1, "no grant of uid 0 covers namespace 'green'"),
        (["--user", "root", "blue", "icmp"], 1, "grant 'web' allows no icmp sockets in namespace 'blue'"),
        (["--user", "root", "blue", "icmp"], 1, "grant 'web' lacks sockets icmp"),
        (["--user", "root", "@host", "tcp", "--bind", "*:81"], 1, "grant 'web' lacks bind 0.0.0.0:81"),
        (["--user", "root", "blue", "tcp", "--bind", "[::]:443"], 1, "port 443 of :: is not in the bind list"),
        (
            ["--user", "root", "blue", "tcp", "--option", "transparent"],
            1,
            "grant 'web' does not allow option transparent",
        ),
        (["--user", "nosuchuser", "blue", "tcp"], 2, "there is no user 'nosuchuser'"),
        (["--user", "root", "blue", "tcp", "--bind", "localhost:80"], 2, "'localhost:80' is no address: 'localhost' "),
        (["--user", "root", "blue", "tcp", "--bind", "10.0.0.1"], 2, "'10.0.0.1' is no address: the port is missing: "),
        (["--user", "root", "blue", "tcp", "--bind", "[::1]"], 2, "'[::1]' is no address: the port is missing: write "),
        (["--user", "root", "blue", "tcp", "--bind", ":x"], 2, "':x' is no address: 'x' is no port of 0 to 65535: "),
        (["--user", "root", "blue", "tcp", "--bind", ":65536"], 2, "'65536' is no port of 0 to 65535: write ADDRESS:"),
        (["--user", "root", "blue", "tcp", "--option", "debug"], 2, "'debug' is not an option of a grant"),
    ],
)
def test_explain_says_what_would_happen_and_why(command: Command, arguments: list[str], status: int, says: str) -> None:
    done = command("explain", *arguments)
    assert done.returncode == status, done.stderr
    assert says in (done.stderr if status == 2 else done.stdout)


LIMITED = GRANT + 'limit = { connect = ["10.0.0.0/8:443", "[fd00::/8]:*"], bind = ["*:80"] }\n'


@pytest.mark.parametrize("grants", [GRANT, LIMITED])
def test_check_says_whether_limits_can_be_enforced(configured: BrokerProcess, command: Command, grants: str) -> None:
    """This host can: other tests see it."""
    configured.configure(grants)
    done = command("check")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert "limits: this host can enforce them" in said
    reason = why_no_second_wall()
    assert ("limits: by both walls" in said) is (reason is None)
    assert any(line.startswith(f"limits: only by the first wall: {reason}") for line in said) is (reason is not None)
    assert any("limits of sctp" in line for line in said) is (reason is not None)
    swept = why_not_listed()
    assert f"  this kernel refuses programs that look at its sockets: {swept}" in said or swept is None
    limits = json.loads(command("check", "--json").stdout)["limits"]
    assert limits["reload_reaches_connected_sockets"] is (swept is None)


def test_check_also_says_what_this_host_lacks_only_now(
    configured: BrokerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example memory."""

    def fail(error: Exception) -> None:
        raise error

    monkeypatch.setattr(check_module, "why_not_listed", lambda: fail(OSError(errno.ENOMEM, "no memory")))
    for module in (check_module, load):
        monkeypatch.setattr(module, "why_no_second_wall", lambda: fail(WallError("no room")))
    assert check(configured.config_path).limits == Limits(1, "no room", "no memory")
    configured.configure(LIMITED.replace('"tcp"', '"sctp"'))
    assert ["sctp" in str(one) and "no room" in str(one) for one in check(configured.config_path).problems] == [True]


def without_cgroups() -> None:
    """Leave the control groups of version 2 behind: as on a host that has not mounted them."""
    move_into_new(CLONE_NEWNS)
    libc = ctypes.CDLL(None)
    assert libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None) == 0  # it sees later names
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            assert libc.umount2(line.split()[4].encode(), MNT_DETACH) == 0


@pytest.mark.parametrize("verb", ["check", "serve"])
def test_host_without_cgroups_refuses_limits_and_nothing_else(
    configured: BrokerProcess, command: Command, verb: str
) -> None:
    """The broker gives the reason. `check` says it before the first limit."""
    configured.configure(LIMITED)
    done = command(verb, before=without_cgroups)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "grant 'web'.limit: this host can't enforce it: there is no control group of version 2" in done.stderr
    configured.configure(GRANT)
    done = command("check", before=without_cgroups)
    assert done.returncode == 0
    assert "limits: this host can't enforce any: there is no control group of version 2" in done.stdout


def test_unprivileged_check_and_explain_take_limits_for_granted(configured: BrokerProcess) -> None:
    """Only root can try limits. Every user can check a configuration."""
    configured.configure(LIMITED)
    path = configured.config_path
    report = as_unprivileged(check, path)
    assert (report.problems, report.places_are_tested) == ((), False)
    assert report.limits == (None, "not tested, because this takes root: run nsbrokerd check as root", None)
    explained = as_unprivileged(
        partial(explain, path, "root", "blue", "tcp", bind=None, options=[], connect="10.0.0.1:443")
    )
    assert explained.answer.reason is None


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["tcp"], 0, "afterwards it can connect to 10.0.0.0/8:443, [fd00::/8]:*"),
        (["tcp"], 0, "and bind to *:80"),
        (["tcp", "--connect", "10.1.2.3:443"], 0, "connecting to 10.1.2.3:443 is allowed"),
        (["tcp", "--connect", "[::ffff:10.1.2.3]:443"], 0, "connecting to [::ffff:10.1.2.3]:443 is allowed"),
        (["udp", "--connect", "[fd00::1]:5000"], 0, "connecting to [fd00::1]:5000 is allowed"),
        (["tcp", "--connect", "10.1.2.3:444"], 1, "connecting to 10.1.2.3:444 is denied by the limit"),
        (["tcp", "--connect", "10.1.2.3:444"], 1, "port 444 of 10.1.2.3 is not in limit.connect of grant 'web'"),
        (["tcp", "--connect", "10.1.2.3:444"], 1, "grant 'web' lacks limit.connect 10.1.2.3:444"),
        (["tcp", "--bind", "0.0.0.0:81"], 1, "port 81 of 0.0.0.0 is not in limit.bind of grant 'web'"),
        (["tcp", "--connect", "example.org:80"], 2, "'example.org:80' is no address: "),
    ],
)
def test_explain_says_where_a_limited_socket_can_go(
    configured: BrokerProcess, command: Command, arguments: list[str], status: int, says: str
) -> None:
    configured.configure(LIMITED)
    done = command("explain", "--user", "root", "blue", *arguments)
    assert done.returncode == status, done.stderr
    assert says in (done.stderr if status == 2 else done.stdout)


def test_explain_says_that_without_limits_it_goes_anywhere(command: Command) -> None:
    done = command("explain", "--user", "root", "blue", "tcp", "--connect", "192.0.2.1:1")
    assert done.returncode == 0
    assert "afterwards it can connect to any address, and bind to any address with a port from 1024 on" in done.stdout
    assert "only the broker can bind lower ports, when it makes the socket: *:80, 10.0.0.0/8:443" in done.stdout


def test_explain_speaks_json(configured: BrokerProcess, command: Command) -> None:
    # With a rule for all name servers, none of this machine's is added.
    configured.configure(LIMITED.replace("[fd00::/8]:*", "*:53"))
    done = command("explain", "--user", "12345", "blue", "tcp", "--connect", "10.1.2.3:444", "--json")
    found = json.loads(done.stdout)
    limit = {"connect": ["10.0.0.0/8:443", "*:53"], "bind": ["*:80"]}
    lacks = [{"key": "limit.connect", "rule": "10.1.2.3:444"}]
    assert found == {
        "allowed": False,
        "reason": "port 444 of 10.1.2.3 is not in limit.connect of grant 'web'",
        "uid": 12345,
        "gids": [],
        "namespace": "blue",
        "kind": "tcp",
        "bind": None,
        "connect": "10.1.2.3:444",
        "grant": "web",
        "binds_with_rights": False,
        "grants": [{"grant": "web", "lacks": lacks, "limit": limit}],
    }
    assert done.returncode == 1


def test_check_speaks_json(configured: BrokerProcess, command: Command) -> None:
    configured.configure(GRANT)
    done = command("check", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["serves"], found["grants"], found["problems"]) == (0, True, True, 1, [])
    assert found["limits"]["walls"] == (2 if found["limits"]["reason"] is None else 1)
    configured.configure(GRANT.replace('"tcp"', '"tpc"'), "[log]\nlevel = 3\n")
    done = command("check", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, done.stderr, found["ok"], found["serves"]) == (1, "", False, False)
    lines = configured.config_path.read_text().splitlines()
    assert [(one["key"], one["line"], one["fatal"]) for one in found["problems"]] == [
        ("log.level", 1 + lines.index("level = 3"), True),
        ("grant 'web'.sockets", 1 + lines.index('sockets = ["tpc", "udp"]'), True),
    ]
    assert found["problems"][1]["file"] == str(configured.config_path)
    assert found["problems"][1]["reason"].endswith("did you mean 'tcp'?")


def test_missing_configuration_is_one_line(configured: BrokerProcess, command: Command) -> None:
    """Nothing is said about settings that it may have."""
    configured.config_path.unlink()
    for verb in ("check", "serve"):
        done = command(verb)
        line = f"{configured.config_path}: can't be read: No such file or directory: create it, or name another file\n"
        assert (done.returncode, done.stderr.removeprefix("nsbrokerd: ")) == (1, line)


def test_number_in_place_of_a_text_has_its_remedy(configured: BrokerProcess, command: Command) -> None:
    configured.configure(GRANT.replace('"10.0.0.0/8:443"', "80"))
    line = 1 + configured.config_path.read_text().splitlines().index('bind = ["*:80", 80]')
    told = "grant 'web'.bind: must be a list of strings, but it has 80: put it in quotes"
    assert command("check").stderr == f"{configured.config_path}:{line}: {told}\n"
