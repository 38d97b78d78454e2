"""`nsbrokerd grant` and `ungrant`, in an /etc that only the test sees. tests/vm has a broker that reloads."""

from __future__ import annotations

import argparse
import grp
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from nsbrokerd.commands.common import CommandError, report
from nsbrokerd.commands.main import build_parser
from nsbrokerd.config import ConfigError
from support.own_etc import own_etc

if os.geteuid() != 0:
    pytest.skip("users and groups take root", allow_module_level=True)

MAIN = '[broker]\nsocket_group = "nsbt-members"\n'
GRANTS = Path("/etc/nsbroker/grants.d")
FILE = GRANTS / "nsbt-alice+blue.toml"
RELOAD = "next      reload the broker: send it SIGHUP, because systemd does not run here"

if Path("/run/systemd/system").exists():
    pytest.skip("this host runs systemd, whose broker the commands would reload", allow_module_level=True)


@pytest.fixture(scope="module")
def accounts() -> Iterator[dict[Path, str]]:
    """An /etc with two users and a group. Yield its files of them."""
    with own_etc():
        subprocess.run(["groupadd", "nsbt-members"], check=True)
        for user in ("nsbt-alice", "nsbt-bob"):
            subprocess.run(["useradd", "--no-create-home", user], check=True)
        yield {path: path.read_text() for path in map(Path("/etc").joinpath, ("passwd", "group", "shadow", "gshadow"))}


@pytest.fixture(autouse=True)
def _configuration(accounts: dict[Path, str]) -> None:
    """A configuration without a grant, and the users as they were."""
    for path, text in accounts.items():
        path.write_text(text)
    shutil.rmtree("/etc/nsbroker", ignore_errors=True)
    GRANTS.mkdir(parents=True)
    GRANTS.with_name("nsbrokerd.toml").write_text(MAIN)


def run(*arguments: str) -> tuple[int, list[str]]:
    """Run the command. Return its status and its lines, those of standard error last. Notes are left out.

    They depend on the namespaces of the machine.
    """
    status, lines = run_with_notes(*arguments)
    return status, [line for line in lines if not line.startswith("note ")]


def run_with_notes(*arguments: str) -> tuple[int, list[str]]:
    # In this process, whose thread has the /etc of the test.
    with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
        status = main(arguments)
    return status, (output.getvalue() + errors.getvalue()).splitlines()


def main(arguments: Sequence[str]) -> int:
    parsed = build_parser(arguments).parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return run(parsed)
    except (CommandError, ConfigError) as error:
        return report(error)


def members() -> list[str]:
    return grp.getgrnam("nsbt-members").gr_mem


def test_grant_is_a_file_a_group_and_a_report() -> None:
    assert run("grant", "nsbt-alice", "blue") == (
        0,
        [
            f"wrote     {FILE}",
            "added     nsbt-alice to the group nsbt-members: running sessions do not have it, so log in anew",
            RELOAD,
            "nsbt-alice can use blue: tcp, udp sockets (grant 'nsbt-alice in blue')",
        ],
    )
    assert members() == ["nsbt-alice"]
    assert FILE.stat().st_mode & 0o777 == 0o644
    status, lines = run("explain", "--user", "nsbt-alice", "blue", "tcp")
    assert (status, lines[1]) == (0, "by grant 'nsbt-alice in blue'")


def test_second_grant_changes_nothing() -> None:
    run("grant", "nsbt-alice", "blue")
    inode = FILE.stat().st_ino
    status, lines = run("grant", "nsbt-alice", "blue")
    assert status == 0
    assert [line for line in lines if line.startswith("unchanged")] == [
        f"unchanged {FILE}",
        "unchanged nsbt-alice is in the group nsbt-members",
    ]
    assert FILE.stat().st_ino == inode


def test_other_options_replace_the_grant() -> None:
    run("grant", "nsbt-alice", "blue")
    status, lines = run("grant", "nsbt-alice", "blue", "--sockets", "tcp", "--bind", "*:80", "--option", "mark=0x10")
    assert (status, lines[0]) == (0, f"replaced  {FILE}")
    assert lines[-1] == (
        "nsbt-alice can use blue: tcp sockets; the broker binds *:80; with mark=0x10 (grant 'nsbt-alice in blue')"
    )
    assert len(list(GRANTS.iterdir())) == 1


def test_all_grants_of_the_user_are_reported() -> None:
    run("grant", "nsbt-alice", "blue")
    run("grant", "nsbt-bob", "green")
    _, lines = run("grant", "nsbt-alice", "@host", "--sockets", "icmp")
    assert [line for line in lines if " can use " in line] == [
        "nsbt-alice can use @host: icmp sockets (grant 'nsbt-alice in @host')",
        "nsbt-alice can use blue: tcp, udp sockets (grant 'nsbt-alice in blue')",
    ]


def test_user_can_be_named_by_id() -> None:
    uid = subprocess.run(["id", "-u", "nsbt-alice"], capture_output=True, text=True, check=True).stdout.strip()
    assert run("grant", uid, "blue")[0] == 0
    assert FILE.exists()


def test_ungrant_undoes_it() -> None:
    """The group goes with the last grant, and a second run changes no more."""
    run("grant", "nsbt-alice", "blue")
    run("grant", "nsbt-alice", "green")
    status, lines = run("ungrant", "nsbt-alice", "blue")
    assert (status, lines) == (
        0,
        [
            f"removed   {FILE}",
            "kept      nsbt-alice in the group nsbt-members: grant 'nsbt-alice in green' covers nsbt-alice",
            RELOAD,
            "nsbt-alice can use green: tcp, udp sockets (grant 'nsbt-alice in green')",
        ],
    )
    status, lines = run("ungrant", "nsbt-alice", "green")
    assert (status, members(), list(GRANTS.iterdir())) == (0, [], [])
    assert lines[-1] == "nsbt-alice can't use any namespace: no grant is left"
    assert run("ungrant", "nsbt-alice", "green")[0] == 0


def test_half_done_steps_are_repaired() -> None:
    """Both ways: a file without the group, and the group without a file."""
    run("grant", "nsbt-alice", "blue")
    subprocess.run(["gpasswd", "-d", "nsbt-alice", "nsbt-members"], check=True, capture_output=True)
    assert run("grant", "nsbt-alice", "blue")[0] == 0
    assert members() == ["nsbt-alice"]
    FILE.unlink()
    assert run("ungrant", "nsbt-alice", "blue")[0] == 0
    assert members() == []


def test_grant_that_the_configuration_can_not_have_is_withdrawn() -> None:
    """Here by the name of another grant. Nothing else has changed."""
    (GRANTS / "other.toml").write_text(
        '[[grant]]\nname = "nsbt-alice in blue"\nusers = [0]\nnamespaces = ["x"]\nsockets = ["tcp"]\n'
    )
    status, lines = run("grant", "nsbt-alice", "blue")
    assert status == 2
    assert lines[0] == f"withdrawn {FILE}: the configuration has problems"
    assert "already has the name 'nsbt-alice in blue'" in lines[1]
    assert (FILE.exists(), members()) == (False, [])


def test_replacement_that_is_withdrawn_leaves_the_grant_as_it_was() -> None:
    run("grant", "nsbt-alice", "blue")
    before = FILE.read_text()
    (GRANTS / "other.toml").write_text("nonsense")
    assert run("grant", "nsbt-alice", "blue", "--sockets", "tcp")[0] == 2
    assert FILE.read_text() == before


def test_misspelt_namespace_is_noted(make_namespace: Callable[..., str]) -> None:
    """It could also come later, so the grant is given."""
    name = make_namespace("nearly")
    status, lines = run_with_notes("grant", "nsbt-alice", f"{name}x")
    assert (status, lines[1]) == (0, f"note      there is no namespace '{name}x' yet: did you mean '{name}'?")
    for other in (name, "x*", "@host"):
        assert [line for line in run_with_notes("grant", "nsbt-alice", other)[1] if line.startswith("note")] == []


def test_grant_that_stays_in_force_is_not_reported_as_gone() -> None:
    """Another file is broken, so no broker can reload. A second run does the rest."""
    run("grant", "nsbt-alice", "blue")
    broken = GRANTS / "other.toml"
    broken.write_text("nonsense")
    status, lines = run("ungrant", "nsbt-alice", "blue")
    assert (status, FILE.exists()) == (2, False)
    assert lines[1].startswith("failed    the reload: the configuration has problems, so a running broker still gives")
    broken.unlink()
    status, lines = run("ungrant", "nsbt-alice", "blue")
    assert (status, members()) == (0, [])
    assert RELOAD in lines


@pytest.mark.parametrize("verb", ["grant", "ungrant"])
def test_changed_file_is_the_administrators(verb: str) -> None:
    run("grant", "nsbt-alice", "blue")
    changed = FILE.read_text().replace('"tcp", ', "")
    FILE.write_text(changed)
    status, lines = run(verb, "nsbt-alice", "blue", *(["--sockets", "icmp"] if verb == "grant" else []))
    assert status == 1
    assert lines[0].startswith(f"failed    {FILE}: not from nsbrokerd grant, or changed since: ")
    assert FILE.read_text() == changed


@pytest.mark.parametrize("verb", ["grant", "ungrant"])
def test_link_in_the_way_is_not_followed(verb: str) -> None:
    target = Path("/etc/nsbroker/elsewhere")
    target.write_text("x")
    FILE.symlink_to(target)
    status, lines = run(verb, "nsbt-alice", "blue")
    assert (status, target.read_text(), FILE.is_symlink()) == (1, "x", True)
    assert lines[0].startswith(f"failed    {FILE}: there is something else than a file")


@pytest.mark.parametrize("verb", ["grant", "ungrant"])
def test_directory_that_others_can_write_is_refused(verb: str) -> None:
    GRANTS.chmod(0o777)
    assert run(verb, "nsbt-alice", "blue") == (
        2,
        [f"nsbrokerd: users other than root can write {GRANTS}: run chown root and chmod go-w"],
    )
    assert list(GRANTS.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nsbt-alcie", "blue"], "there is no user 'nsbt-alcie': did you mean 'nsbt-alice'?"),
        (["4294967295", "blue"], "there is no user '4294967295': "),
        (["../alice", "blue"], "there is no user '../alice': "),
        (["nsbt-alice", "blue", "--sockets", "tpc"], "'tpc' is not a kind of socket: did you mean 'tcp'?"),
        (["nsbt-alice", "../x"], "'../x' is not a name or pattern of a namespace"),
        (["nsbt-alice", "blue", "--connect", "10.0.0.1"], "'10.0.0.1' is not ADDRESS:PORT"),
    ],
)
def test_unknown_words_are_refused_before_anything_changes(arguments: list[str], message: str) -> None:
    status, [line] = run("grant", *arguments)
    assert status == 2
    assert line.startswith(f"nsbrokerd: {message}")
    assert (list(GRANTS.iterdir()), members()) == ([], [])


def test_grant_of_a_deleted_user_can_be_taken_away() -> None:
    run("grant", "nsbt-alice", "blue")
    subprocess.run(["userdel", "nsbt-alice"], check=True, capture_output=True)
    assert run("ungrant", "nsbt-alice", "blue")[0] == 0
    assert not FILE.exists()
    status, [*_, line] = run("ungrant", "nsbt-alice", "blue")
    assert (status, line) == (2, "nsbrokerd: there is no user 'nsbt-alice': make the user, or name another one")


def test_root_needs_no_group() -> None:
    status, lines = run("grant", "root", "blue")
    assert (status, members()) == (0, [])
    assert lines[-1] == "root can use blue: tcp, udp sockets (grant 'root in blue')"
