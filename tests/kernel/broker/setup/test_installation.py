"""`nsbrokerd install` and `uninstall`, on an image in a directory. tests/vm runs them on a real host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nsbrokerd.setup import tools
from nsbrokerd.setup.installation import find_place, install, uninstall
from nsbrokerd.setup.marked_text import is_unchanged, mark
from nsbrokerd.setup.report import Report, StepError
from nsbrokerd.setup.shipped_files import unit_names

if os.geteuid() != 0:
    pytest.skip("the group of an image takes root", allow_module_level=True)

PROGRAM = Path("/opt/other/bin/nsbrokerd")
SERVICE = "etc/systemd/system/nsbrokerd.service"
COPIES = ["etc/sysusers.d/nsbroker.conf", "etc/tmpfiles.d/nsbroker.conf", "etc/logrotate.d/nsbroker", SERVICE]
LINKS = ["usr/local/bin/nsbrokerd", "usr/local/share/man/man8/nsbrokerd.8"]
FOREIGN = "the administrator's own\n"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The root directory of a host that has only users."""
    return make_image(tmp_path / "image")


def make_image(root: Path) -> Path:
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    return root


def run_install(root: Path) -> list[str]:
    """Return the lines. The last one is "failed" or "done"."""
    return steps(lambda report: install(find_place(root, PROGRAM), report))


def run_uninstall(root: Path, *, purge: bool = False) -> list[str]:
    return steps(lambda report: uninstall(find_place(root, PROGRAM), report, purge=purge))


def steps(function: Callable[[Report], None]) -> list[str]:
    lines: list[str] = []
    report = Report(lines.append)
    function(report)
    return [*lines, "failed" if report.has_failed else "done"]


def words(lines: list[str]) -> set[str]:
    return {line.split()[0] for line in lines}


def contents(root: Path) -> dict[str, str]:
    """Every file and link of an image, except for those of the tools for groups."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file() and not path.name.startswith((".pwd", "group", "gshadow", "passwd")):
            found[name] = path.read_text()
    return found


def ours(root: Path) -> list[str]:
    return [str(path) for path in root.rglob("*") if "nsbroker" in path.name]


def test_each_step_is_a_line_and_none_is_done_twice(image: Path) -> None:
    lines = run_install(image)
    assert words(lines) <= {"wrote", "linked", "made", "unchanged", "skipped", "done"}
    before = contents(image)
    assert {*COPIES, *LINKS, "etc/nsbroker/nsbrokerd.toml"} <= before.keys()
    assert "\nnsbroker:" in (image / "etc/group").read_text()
    inodes = {name: (image / name).lstat().st_ino for name in before}
    assert words(run_install(image)) <= {"unchanged", "kept", "skipped", "done"}
    assert contents(image) == before
    assert {name: (image / name).lstat().st_ino for name in before} == inodes


def test_units_start_this_installation_and_the_sockets_start_with_the_host(image: Path) -> None:
    run_install(image)
    unit = (image / SERVICE).read_text()
    assert f"\nExecStart={PROGRAM} serve\n" in unit
    assert "/opt/nsbroker/" not in unit
    place = find_place(image, PROGRAM)
    assert set(unit_names(place.share)) == {path.name for path in (image / SERVICE).parent.glob("nsbroker*")}
    wanted = (image / "etc/systemd/system/sockets.target.wants").iterdir()
    assert {path.name for path in wanted} == set(place.sockets())


def test_program_of_the_image_itself_is_named_as_the_image_sees_it(image: Path) -> None:
    lines: list[str] = []
    install(find_place(image, image / "opt/other/bin/nsbrokerd"), Report(lines.append))
    assert (image / "usr/local/bin/nsbrokerd").readlink() == PROGRAM


def test_removal_leaves_the_administrators_files(image: Path) -> None:
    run_install(image)
    grant = image / "etc/nsbroker/grants.d/alice.toml"
    grant.write_text(FOREIGN)
    lines = run_uninstall(image)
    assert "kept      the configuration, the audit and the groups: --purge removes them, too" in lines
    assert grant.read_text() == FOREIGN
    assert contents(image).keys() == {"etc/nsbroker/grants.d/alice.toml", "etc/nsbroker/nsbrokerd.toml"}
    assert words(run_uninstall(image)) == {"absent", "kept", "done"}


@pytest.mark.parametrize("unit", ["nsbrokerd.service", "nsbrokerd-metrics.service"])
def test_removal_takes_the_link_of_a_unit_that_was_enabled(image: Path, unit: str) -> None:
    run_install(image)
    wanted = image / "etc/systemd/system/multi-user.target.wants"
    wanted.mkdir()
    (wanted / unit).symlink_to(f"/etc/systemd/system/{unit}")
    (wanted / "other.service").symlink_to("/etc/systemd/system/other.service")
    lines = run_uninstall(image)
    assert f"removed   /etc/systemd/system/multi-user.target.wants/{unit}" in lines
    assert [path.name for path in wanted.iterdir()] == ["other.service"]


def test_link_to_a_unit_of_someone_else_stays(image: Path) -> None:
    run_install(image)
    link = image / "etc/systemd/system/multi-user.target.wants/nsbrokerd-metrics.service"
    link.parent.mkdir()
    link.symlink_to("/srv/units/nsbrokerd-metrics.service")
    run_uninstall(image)
    assert link.is_symlink()


def test_purge_leaves_nothing(image: Path) -> None:
    run_install(image)
    (image / "etc/nsbroker/grants.d/alice.toml").write_text(FOREIGN)
    (image / "var/log/nsbroker").mkdir(parents=True)
    assert run_uninstall(image, purge=True)[-1] == "done"
    assert ours(image) == []
    assert "nsbroker" not in (image / "etc/group").read_text()
    assert words(run_uninstall(image, purge=True)) == {"absent", "done"}


@pytest.mark.parametrize("gone", [COPIES[:1], COPIES[2:], LINKS, [SERVICE, *LINKS], ["etc/nsbroker/nsbrokerd.toml"]])
def test_half_removed_installation_is_repaired(image: Path, gone: list[str]) -> None:
    run_install(image)
    before = contents(image)
    for name in gone:
        (image / name).unlink()
    assert run_install(image)[-1] == "done"
    assert contents(image) == before


@pytest.mark.parametrize("gone", [COPIES[:1], COPIES[2:], LINKS])
def test_half_removed_installation_is_removed(image: Path, gone: list[str]) -> None:
    run_install(image)
    for name in gone:
        (image / name).unlink()
    assert run_uninstall(image, purge=True)[-1] == "done"
    assert ours(image) == []


@pytest.mark.parametrize("name", [*COPIES, *LINKS])
@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_foreign_file_stays_and_is_named_in_one_line(image: Path, name: str, kind: str) -> None:
    """All other steps are done, but the broker does not start. Without the file, a second run does the rest."""
    path = image / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/srv/other")
    else:
        path.write_text(FOREIGN)
    lines = run_install(image)
    [line] = [line for line in lines[:-1] if line.startswith("failed")]
    assert f"/{name}: " in line
    assert "move it away, then run this command again" in line
    assert lines[-1] == "failed"
    assert "skipped   the start of the sockets: not before all steps above are done" in lines
    assert (path.is_dir(), path.is_symlink()) == (kind == "directory", kind == "link")
    assert kind != "file" or path.read_text() == FOREIGN
    path.rmdir() if kind == "directory" else path.unlink()
    assert run_install(image)[-1] == "done"


def test_changed_unit_is_the_administrators(image: Path) -> None:
    run_install(image)
    unit = image / SERVICE
    changed = unit.read_text().replace("WatchdogSec=30s", "WatchdogSec=90s")
    unit.write_text(changed)
    assert run_install(image)[-1] == "failed"
    lines = run_uninstall(image, purge=True)
    assert lines[-1] == "failed"
    assert "kept      the configuration, the audit and the groups: not before all steps above are done" in lines
    assert unit.read_text() == changed


def test_earlier_installation_elsewhere_is_taken_over(image: Path) -> None:
    """An old unit, and links to the programs that it belongs to."""
    old = mark("[Service]\nExecStart=/opt/old/bin/nsbrokerd serve\n", "install")
    (image / SERVICE).parent.mkdir(parents=True)
    (image / SERVICE).write_text(old)
    (image / "usr/local/bin").mkdir(parents=True)
    (image / LINKS[0]).symlink_to("/opt/old/bin/nsbrokerd")
    (image / LINKS[1]).parent.mkdir(parents=True)
    (image / LINKS[1]).symlink_to("/opt/old/lib/python3.11/site-packages/nsbrokerd/share/man/nsbrokerd.8")
    lines = run_install(image)
    assert f"replaced  /{SERVICE}: it was from an earlier installation" in lines
    assert lines[-1] == "done"
    assert (image / LINKS[0]).readlink() == PROGRAM


def test_link_to_other_programs_is_foreign(image: Path) -> None:
    (image / "usr/local/bin").mkdir(parents=True)
    (image / LINKS[0]).symlink_to("/srv/mine/bin/nsbrokerd")
    assert run_install(image)[-1] == "failed"
    assert str((image / LINKS[0]).readlink()) == "/srv/mine/bin/nsbrokerd"


def test_run_that_was_killed_leaves_nothing_behind(image: Path) -> None:
    run_install(image)
    for name in COPIES:
        path = image / name
        path.with_name(f".{path.name}.nsbroker-new").write_text("hal")
    (image / SERVICE).unlink()
    assert run_install(image)[-1] == "done"
    assert [path for path in image.rglob(".*") if "nsbroker" in path.name] == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Yield a function that gives an image a disk of so many KiB. If it is there, its size changes."""
    root = tmp_path / "disk"

    def size(kib: int) -> Path:
        options = f"size={kib}k"
        if os.path.ismount(root):
            subprocess.run(["mount", "-o", f"remount,{options}", root], check=True)
        else:
            root.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", root], check=True)
            make_image(root)
        return root

    yield size
    subprocess.run(["umount", root], check=True)


@pytest.mark.parametrize("kib", [12, 20, 28, 36])
def test_full_disk_leaves_whole_files_and_a_second_run_does_the_rest(
    disk: Callable[[int], Path], image: Path, kib: int
) -> None:
    root = disk(kib)
    lines = run_install(root)
    assert lines[-1] == "failed"
    assert any("No space left on device: free some space, then run this command again" in line for line in lines)
    for name, text in contents(root).items():
        assert text.startswith("-> ") or name.endswith(".toml") or name.startswith("etc/.") or is_unchanged(text), name
    assert list(root.rglob("*.nsbroker-new")) == []
    disk(4096)
    assert run_install(root)[-1] == "done"
    run_install(image)
    assert contents(root) == contents(image)


def test_links_of_an_image_lead_nowhere(image: Path, tmp_path: Path) -> None:
    """A directory of the image that is a link to a directory of this host."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (image / "usr").mkdir()
    (image / "usr/local").symlink_to(outside)
    lines = run_install(image)
    assert lines[-1] == "failed"
    assert any("'local' of its path is no directory, or a link" in line for line in lines)
    assert list(outside.iterdir()) == []


def test_host_without_tools_for_groups_is_told(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And once it has some, a second run does the rest."""
    with monkeypatch.context() as patch:
        patch.setattr(tools, "PATH", str(tmp_path))
        lines = run_install(image)
    reason = "this host has no systemd-sysusers or groupadd: install it, then run this command again"
    groups = ("nsbroker", "nsbroker-status")
    failed = [line for line in lines if line.startswith("failed ")]
    assert failed == [f"failed    the group {group}: {reason}" for group in groups]
    assert lines[-1] == "failed"
    assert run_install(image)[-1] == "done"


def test_host_of_a_package_is_left_alone(image: Path) -> None:
    unit = image / "usr/lib/systemd/system/nsbrokerd.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(FOREIGN)
    lines = run_install(image)
    assert lines == [
        "failed    /usr/lib/systemd/system/nsbrokerd.service: a package of your distribution has set up this host: "
        "remove that package, or use it",
        "failed",
    ]
    assert ours(image) == [str(unit)]


@pytest.fixture
def program() -> Iterator[Path]:
    """A program of root, where the service can see it."""
    directory = Path(f"/run/nsbt{os.getpid()}")
    directory.mkdir()
    program = directory / "nsbrokerd"
    program.touch(0o755)
    yield program
    shutil.rmtree(directory)


def test_program_that_others_can_change_is_refused(program: Path) -> None:
    """The service runs it as root."""
    program.parent.chmod(0o777)
    with pytest.raises(StepError, match=f"users other than root can write {program.parent}, which root would run"):
        find_place(Path("/"), program)


def test_program_that_the_service_can_not_see_is_refused() -> None:
    with pytest.raises(StepError, match="is in a directory that the service can't see: install it below /opt"):
        find_place(Path("/"), Path("/home/alice/bin/nsbrokerd"))


def test_command_has_the_status_of_its_steps(image: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-P", "-m", "nsbrokerd", *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    assert run("install", "--root", str(image)).returncode == 0
    assert run("uninstall", "--purge", "--root", str(image)).returncode == 0
    (image / COPIES[0]).write_text(FOREIGN)
    assert run("install", "--root", str(image)).returncode == 1
    missing = run("install", "--root", str(image / "nowhere"))
    assert (missing.returncode, missing.stderr) == (
        2,
        f"nsbrokerd: there is no directory {image}/nowhere: give the root directory of an image\n",
    )
