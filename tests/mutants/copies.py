"""Copies of the checkout, each with an environment in which the copy's packages are installed.

The libraries are not copied: the copy's environment has them behind its own packages. So a copy takes a moment, and
every program that a test starts, as whichever user, imports the changed package.
"""

from __future__ import annotations

import compileall
import os
import shutil
import site
import sys
import tomllib
import venv
from pathlib import Path

from .guarantee import Mutant

PACKAGES = ("broker/nsbrokerd", "client/nsbroker")
"""Relative to the checkout."""

_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", "results", "dist", "build"
)
_SCRIPTS = ("nsbrokerd", "nsbroker-get")


class Copy:
    """A checkout and its environment, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.checkout = directory / "checkout"
        self.environment = directory / "venv"
        self.python = self.environment / "bin/python"

    def change(self, mutant: Mutant) -> None:
        """Change a file of the checkout, and the same file where it is installed.

        Raises:
            UnappliedError: the change does not fit.
        """
        text = mutant.changed_file(self.checkout)
        _replace(self.checkout / mutant.file, text)
        for package in map(Path, PACKAGES):
            if Path(mutant.file).is_relative_to(package):
                installed = self._site_packages() / Path(mutant.file).relative_to(package.parent)
                _replace(installed, text)
                for cached in (installed.parent / "__pycache__").glob(f"{installed.stem}.*.pyc"):
                    cached.unlink()

    def module(self, file: str) -> str | None:
        """Return the name of the module that a file of the checkout is; None if it is none."""
        for package in map(Path, PACKAGES):
            if Path(file).is_relative_to(package) and file.endswith(".py"):
                parts = Path(file).relative_to(package.parent).with_suffix("").parts
                return ".".join(part for part in parts if part != "__init__")
        return None

    def _site_packages(self) -> Path:
        return self.environment / Path(site.getsitepackages()[0]).relative_to(sys.prefix)

    def fill(self, checkout: Path) -> None:
        """Copy a checkout, and install it in front of the libraries of this process."""
        shutil.copytree(checkout, self.checkout, ignore=_LEFT_OUT)
        venv.EnvBuilder(symlinks=True).create(self.environment)
        for package in PACKAGES:
            shutil.copytree(self.checkout / package, self._site_packages() / Path(package).name)
        self._carry_files()
        compileall.compile_dir(self._site_packages(), quiet=1)
        # These come after the copy's own packages, and no .pth file in them is read, such as the checkout's.
        libraries = "".join(f"{path}\n" for path in sys.path if Path(path).name == "site-packages")
        (self._site_packages() / "libraries.pth").write_text(libraries)
        self._write_scripts()

    def _carry_files(self) -> None:
        """Copy the other files that the wheel has."""
        project = tomllib.loads((self.checkout / "pyproject.toml").read_text())
        carried: dict[str, str] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
        for source, place in carried.items():
            file, target = self.checkout / source, self._site_packages() / place
            target.parent.mkdir(exist_ok=True)
            shutil.copytree(file, target) if file.is_dir() else shutil.copy(file, target)

    def fill_like(self, other: Copy) -> None:
        """Copy another copy by hard links. So replace a file, and never write to it."""
        shutil.copytree(other.checkout, self.checkout, copy_function=os.link)
        shutil.copytree(other.environment, self.environment, symlinks=True, copy_function=os.link)
        self._write_scripts()

    def _write_scripts(self) -> None:
        for name in _SCRIPTS:
            lines = (Path(sys.prefix) / "bin" / name).read_text().splitlines(keepends=True)
            script = self.python.parent / name
            _replace(script, "".join([f"#!{self.python}\n", *lines[1:]]))
            script.chmod(0o755)

    def variables(self) -> dict[str, str]:
        """Return the environment variables for what runs in it. Byte code is kept: it is the same in the next copy."""
        left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if name not in left_out}
        return kept | {"PATH": f"{self.python.parent}:{kept['PATH']}", "VIRTUAL_ENV": str(self.environment)}


def _replace(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
