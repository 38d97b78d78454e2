"""The files that the wheel carries for a host, and their places there. They are those of deploy/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .report import StepError

PACKAGE = Path(__file__).parent.parent

UNITS = Path("/etc/systemd/system")
PACKAGED_UNITS = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))
"""Where a package of the distribution has its units."""

_SHARE = Path("/usr/local/share")
COMMANDS = Path("/usr/local/bin")

EXAMPLE = Path("/etc/nsbroker/nsbrokerd.toml")

OWN_DIRECTORIES = tuple(
    _SHARE / name
    for name in (
        *("man/man1", "man/man5", "man/man8"),
        *("bash-completion/completions", "bash-completion"),
        *("fish/vendor_completions.d", "fish"),
        *("zsh/site-functions", "zsh"),
    )
)
"""Directories that the installation may have made, those within others first."""

_PROGRAM_IN_UNITS = "/opt/nsbroker/bin/nsbrokerd"


class Copy(NamedTuple):
    """A text that is copied to a place, with a mark."""

    path: Path
    text: str


class Link(NamedTuple):
    """A link to a file of this installation."""

    path: Path
    target: str


def directory() -> Path:
    """Return the directory of the files.

    Raises:
        StepError: this installation belongs to a package of the distribution, and has no such directory.
    """
    # A checkout has no copy of them.
    for found in (PACKAGE / "share", PACKAGE.parent.parent / "deploy"):
        if (found / "nsbrokerd.service").exists():
            return found
    raise StepError("this nsbrokerd belongs to a package of your distribution, which has already set up everything")


def unit_names(share: Path) -> list[str]:
    """Return the names of all units, sockets first."""
    return sorted(
        (path.name for path in share.iterdir() if path.suffix in (".service", ".socket")),
        key=lambda name: (not name.endswith(".socket"), name),
    )


def copies(share: Path, program: Path) -> list[Copy]:
    """Return the units, which start this program, and the other files of /etc."""
    units = [Copy(UNITS / name, unit_text(share / name, program)) for name in unit_names(share)]
    others = [
        Copy(Path("/etc") / name, (share / name).read_text())
        for name in ("sysusers.d/nsbroker.conf", "tmpfiles.d/nsbroker.conf", "logrotate.d/nsbroker")
    ]
    return [*others, *units]


def unit_text(path: Path, program: Path) -> str:
    """Return a unit that starts this program."""
    return path.read_text().replace(_PROGRAM_IN_UNITS, str(program))


def links(share: Path, shown: Path, program: Path) -> list[Link]:
    """Return the links to the programs, the manual pages and the completions.

    Args:
        share: the directory of the files.
        shown: the same directory, as the host's own programs see it.
        program: nsbrokerd, as the host's own programs see it.
    """
    tool = program.with_name("nsbroker-get")
    found = [Link(COMMANDS / path.name, str(path)) for path in (program, tool) if path.parent != COMMANDS]
    found += [
        Link(place, str(shown / source))
        for source, place in (*_pages(share / "man"), *_completions(share / "completions"))
    ]
    return found


def _pages(man: Path) -> Iterator[tuple[str, Path]]:
    for page in sorted(man.iterdir()):
        yield f"man/{page.name}", _SHARE / "man" / f"man{page.suffix[1:]}" / page.name


def _completions(completions: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(completions.iterdir()):
        source = f"completions/{path.name}"
        if path.suffix == ".bash":
            yield source, _SHARE / "bash-completion/completions" / path.stem
        elif path.suffix == ".fish":
            yield source, _SHARE / "fish/vendor_completions.d" / path.name
        else:
            yield source, _SHARE / "zsh/site-functions" / path.name


def groups(share: Path) -> list[str]:
    """Return the groups of sysusers.d."""
    lines = (share / "sysusers.d" / "nsbroker.conf").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("g ")]


def runtime_directories(share: Path) -> list[tuple[Path, int]]:
    """Return the directories of tmpfiles.d and their modes."""
    lines = (share / "tmpfiles.d" / "nsbroker.conf").read_text().splitlines()
    words = (line.split() for line in lines if line.startswith("d "))
    return [(Path(path), int(mode, 8)) for _, path, mode, *_ in words]
