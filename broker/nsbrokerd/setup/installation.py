"""Sets up a host for this installation of nsbrokerd, and undoes it. Each step can be repeated.

Files with a mark are ours (see `marked_text`), and so are links that lead into this installation or the one that the
unit in place starts. All others belong to someone else, and stay as they are.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ..config.trusted_files import UntrustedError, read_bytes
from . import systemd
from .groups import make_group, remove_group
from .marked_text import is_unchanged, mark
from .report import Report, StepError
from .shipped_files import (
    COMMANDS,
    EXAMPLE,
    OWN_DIRECTORIES,
    PACKAGE,
    PACKAGED_UNITS,
    UNITS,
    Copy,
    Link,
    copies,
    directory,
    groups,
    links,
    runtime_directories,
    unit_names,
)
from .tree import Tree

_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108
"""The unit does not see these directories: ProtectHome=yes, PrivateTmp=yes."""

_SEAL = Path("/sys/fs/bpf/nsbrokerd")
_OF_ADMINISTRATOR = (Path("/etc/nsbroker"), Path("/var/log/nsbroker"))
_FOREIGN = "not from nsbrokerd install, or changed since: move it away, then run this command again"


@dataclass(frozen=True, slots=True)
class Place:
    """An installation by pip, and the host that it is set up on.

    `program` is nsbrokerd, and `shown` is the directory of its files, as the host's own programs see them.
    """

    tree: Tree
    share: Path
    shown: Path
    program: Path

    def copies(self) -> list[Copy]:
        """Return the files to copy."""
        return copies(self.share, self.program)

    def links(self) -> list[Link]:
        """Return the links to make, also those that start the sockets."""
        return [*links(self.share, self.shown, self.program), *(_wanted(unit) for unit in self.sockets())]

    def links_of_administrator(self) -> list[Link]:
        """Return the links that `systemctl enable` makes for the services. This command makes none of them."""
        services = [name for name in unit_names(self.share) if name.endswith(".service")]
        return [Link(systemd.WANTS_SERVICES / name, str(UNITS / name)) for name in services]

    def sockets(self) -> list[str]:
        """Return the names of the socket units."""
        return [name for name in unit_names(self.share) if name.endswith(".socket")]


def find_place(root: Path, program: Path) -> Place:
    """Return the place of this installation.

    Args:
        root: the host's root directory, "/" for the host that runs this program.
        program: nsbrokerd, as this program sees it.

    Raises:
        StepError: this installation can't be set up there.
    """
    share = directory()
    tree = Tree(root)
    if tree.is_this_host:
        _check_program(program)
    return Place(tree, share, _seen_from(root, share), _seen_from(root, program))


def _seen_from(root: Path, path: Path) -> Path:
    """Return a path as the programs of the host see it."""
    return Path("/") / path.relative_to(root) if path.is_relative_to(root) else path


def _check_program(program: Path) -> None:
    for path in (program, PACKAGE / "__init__.py", Path(os.path.realpath(sys.executable))):
        if any(path.is_relative_to(hidden) for hidden in _HIDDEN):
            raise StepError(f"{path} is in a directory that the service can't see: install it below /opt or /usr/local")
        try:
            read_bytes(path)
        except UntrustedError as error:
            raise StepError(
                f"users other than root can write {error.path}, which root would run: run chown root and chmod go-w"
            ) from error


def install(place: Place, report: Report) -> None:
    """Do all steps that are not done yet."""
    tree = place.tree
    for directory_of_units in PACKAGED_UNITS:
        if tree.exists(directory_of_units / systemd.SERVICE):
            report.failed(
                directory_of_units / systemd.SERVICE,
                "a package of your distribution has set up this host: remove that package, or use it",
            )
            return
    former = _program_in_place(tree)
    for copy in place.copies():
        with report.step(copy.path):
            _copy(tree, copy, report)
    for link in place.links():
        with report.step(link.path):
            _link(tree, link, former, report)
    with report.step(EXAMPLE):
        if tree.exists(EXAMPLE):
            report.unchanged("kept", EXAMPLE)
        else:
            tree.write(EXAMPLE, (place.share / "nsbrokerd.toml").read_text())
            report.changed("wrote", EXAMPLE)
    for group in groups(place.share):
        make_group(tree, group, report)
    _make_directories(place, report)
    _activate(place, report)


def _copy(tree: Tree, copy: Copy, report: Report) -> None:
    text = mark(copy.text, "install")
    present = tree.read(copy.path)
    if present == text:
        tree.remove_new(copy.path)
        report.unchanged("unchanged", copy.path)
    elif present is None:
        tree.write(copy.path, text)
        report.changed("wrote", copy.path)
    elif is_unchanged(present) or present == copy.text:
        tree.write(copy.path, text)
        report.changed("replaced", copy.path, "it was from an earlier installation")
    else:
        raise StepError(_FOREIGN)


def _link(tree: Tree, link: Link, former: Path | None, report: Report) -> None:
    target = tree.target(link.path)
    if target == link.target:
        report.unchanged("unchanged", link.path)
    elif target is None:
        tree.link(link.path, link.target)
        report.changed("linked", link.path, f"to {link.target}")
    elif _is_own_link(link, target, former):
        tree.link(link.path, link.target)
        report.changed("linked", link.path, f"to {link.target}, and no longer to {target}")
    else:
        raise StepError(_FOREIGN)


def _is_own_link(link: Link, target: str, former: Path | None) -> bool:
    """Return whether a link leads into this or the former installation."""
    if target == link.target:
        return True
    if link.path.parent == COMMANDS:
        return former is not None and target == str(former.with_name(link.path.name))
    found = re.search(r"/nsbrokerd/share/(.*)$", target)
    return found is not None and link.target.endswith(f"/{found[1]}")


def _program_in_place(tree: Tree) -> Path | None:
    """Return the program that our unit in place starts, or None."""
    try:
        text = tree.read(UNITS / systemd.SERVICE)
    except (OSError, StepError):
        return None
    if text is None or not is_unchanged(text):
        return None
    found = re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)
    return Path(found[1]) if found else None


def _wanted(unit: str) -> Link:
    return Link(systemd.WANTS / unit, str(UNITS / unit))


def _make_directories(place: Place, report: Report) -> None:
    for path, mode in runtime_directories(place.share):
        if not place.tree.is_this_host and path.parts[1] in ("run", "sys"):
            continue  # they are made at each start, by tmpfiles.d
        if path == _SEAL and not os.path.ismount(path.parent):
            report.unchanged("skipped", path, "there is no file system of BPF, so this host can have no limits")
            continue
        with report.step(path):
            if place.tree.make_directory(path, mode):
                report.changed("made", path)
            else:
                report.unchanged("unchanged", path)


def _activate(place: Place, report: Report) -> None:
    if report.has_failed:
        report.unchanged("skipped", "the start of the sockets", "not before all steps above are done")
    elif not place.tree.is_this_host:
        report.unchanged("skipped", "the start of the sockets", "they start with the image")
    elif not systemd.is_running():
        report.unchanged("skipped", "systemd", f"it does not run here: let your init system run {place.program} serve")
    else:
        systemd.start(unit_names(place.share), report)


def uninstall(place: Place, report: Report, *, purge: bool) -> None:
    """Undo all steps that are done. The files of the administrator stay, unless `purge`."""
    tree = place.tree
    former = _program_in_place(tree)
    units = [UNITS / name for name in unit_names(place.share)]
    if tree.is_this_host and systemd.is_running() and _is_ours(tree, UNITS / systemd.SERVICE):
        systemd.stop([path.name for path in units], report)
    for link in place.links():
        with report.step(link.path):
            _remove_link(tree, link, former, report)
    for link in place.links_of_administrator():
        if tree.target(link.path) == link.target:
            with report.step(link.path):
                _remove_link(tree, link, former, report)
    # The service's unit is the last one, because it tells the next run which installation this was.
    for copy in place.copies():
        with report.step(copy.path):
            _remove_copy(tree, copy.path, report)
    for path in (*OWN_DIRECTORIES, systemd.WANTS, systemd.WANTS_SERVICES):
        with report.step(path):
            tree.remove_if_empty(path)
    if tree.is_this_host and systemd.is_running():
        systemd.forget_removed_units(report)
    if report.has_failed:
        report.unchanged("kept", "the configuration, the audit and the groups", "not before all steps above are done")
    elif purge:
        _purge(place, report)
    else:
        report.unchanged("kept", "the configuration, the audit and the groups", "--purge removes them, too")


def _is_ours(tree: Tree, path: Path) -> bool:
    try:
        text = tree.read(path)
    except (OSError, StepError):
        return False
    return text is not None and is_unchanged(text)


def _remove_copy(tree: Tree, path: Path, report: Report) -> None:
    tree.remove_new(path)
    text = tree.read(path)
    if text is None:
        report.unchanged("absent", path)
    elif is_unchanged(text):
        tree.remove(path)
        report.changed("removed", path)
    else:
        raise StepError("not from nsbrokerd install, or changed since: remove it yourself, if you do not need it")


def _remove_link(tree: Tree, link: Link, former: Path | None, report: Report) -> None:
    target = tree.target(link.path)
    if target is None:
        report.unchanged("absent", link.path)
    elif _is_own_link(link, target, former):
        tree.remove(link.path)
        report.changed("removed", link.path)
    else:
        report.unchanged("kept", link.path, "not from nsbrokerd install")


def _purge(place: Place, report: Report) -> None:
    tree = place.tree
    paths = [*_OF_ADMINISTRATOR, *((Path("/run/nsbroker"), _SEAL) if tree.is_this_host else ())]
    for path in paths:
        with report.step(path):
            if tree.remove_with_contents(path):
                report.changed("removed", path)
            else:
                report.unchanged("absent", path)
    for group in groups(place.share):
        remove_group(tree, group, report)
