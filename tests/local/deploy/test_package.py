"""The Debian package that deploy/package builds: its files, its fields, and lintian's opinion.

tests/vm installs, upgrades, removes and purges it in pristine machines. The package for Debian 12 takes the package
index, so it is built only there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from support.checkout import CHECKOUT, DEPLOY

if shutil.which("dpkg-deb") is None:
    pytest.skip("there is no dpkg-deb", allow_module_level=True)

MAINTAINER = {"DEBFULLNAME": "Some One", "DEBEMAIL": "some.one@debian.org"}


def command(*words: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | (environment or {}))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(directory: Path, suite: str = "trixie", **environment: str) -> Path:
    words = str(DEPLOY / "package"), "deb", suite, str(directory)
    return Path(command(*words, environment=MAINTAINER | environment).strip())


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def tar(package: Path) -> Iterator[tarfile.TarFile]:
    done = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True)
    with tarfile.open(fileobj=BytesIO(done.stdout)) as opened:
        yield opened


def read(tar: tarfile.TarFile, path: str) -> bytes:
    file = tar.extractfile(f"./{path}")
    assert file is not None
    return file.read()


def fields(package: Path) -> dict[str, str]:
    text = re.sub(r"\n ", " ", command("dpkg-deb", "--field", str(package)))
    return dict(line.split(": ", 1) for line in text.splitlines())


def test_two_builds_have_the_same_bytes(package: Path, tmp_path: Path) -> None:
    """Whenever, wherever, and with whatever umask they are made."""
    before = os.umask(0o077)
    try:
        again = build(tmp_path)
    finally:
        os.umask(before)
    assert again.name == package.name
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(package.read_bytes()).digest()


def test_every_file_of_deploy_is_where_debian_wants_it(tar: tarfile.TarFile) -> None:
    places = {
        "sysusers.d/nsbroker.conf": "usr/lib/sysusers.d/nsbroker.conf",
        "tmpfiles.d/nsbroker.conf": "usr/lib/tmpfiles.d/nsbroker.conf",
        "logrotate.d/nsbroker": "etc/logrotate.d/nsbroker",
        "nsbrokerd.toml": "etc/nsbroker/nsbrokerd.toml",
        "completions/nsbroker-get.bash": "usr/share/bash-completion/completions/nsbroker-get",
        "completions/nsbroker-get.fish": "usr/share/fish/vendor_completions.d/nsbroker-get.fish",
        "completions/_nsbroker-get": "usr/share/zsh/vendor-completions/_nsbroker-get",
        **{f"{path.name}": f"usr/lib/systemd/system/{path.name}" for path in DEPLOY.glob("*.socket")},
    }
    for source, place in places.items():
        assert read(tar, place) == (DEPLOY / source).read_bytes(), source
    pages = {f"./usr/share/man/man{page.name[-1]}/{page.name}.gz" for page in (DEPLOY / "man").iterdir()}
    assert pages <= set(tar.getnames())


def test_units_start_the_program_of_the_package(tar: tarfile.TarFile) -> None:
    for path in DEPLOY.glob("*.service"):
        unit = read(tar, f"usr/lib/systemd/system/{path.name}").decode()
        assert set(re.findall(r"^Exec\w+=(\S*nsbrokerd)\b", unit, re.MULTILINE)) == {"/usr/bin/nsbrokerd"}
        assert "/opt/" not in unit


def test_files_are_roots_and_no_one_elses(tar: tarfile.TarFile) -> None:
    for member in tar.getmembers():
        assert (member.uid, member.gid, member.mode & 0o022) == (0, 0, 0), member.name
        assert member.isdir() or member.isreg(), member.name


def test_only_the_client_is_on_the_path_of_python(tar: tarfile.TarFile) -> None:
    """The broker, and the libraries that it carries on Debian 12, are in a directory of their own."""
    public = {name.split("/")[5] for name in tar.getnames() if name.startswith("./usr/lib/python3/dist-packages/")}
    assert {name.partition("-")[0] for name in public} == {"nsbroker"}
    assert "./usr/lib/nsbroker/nsbrokerd/__main__.py" in tar.getnames()
    assert read(tar, "usr/bin/nsbrokerd").startswith(b"#!/usr/bin/python3 -I\n")


def test_all_files_of_etc_are_the_administrators(package: Path, tar: tarfile.TarFile) -> None:
    listed = command("dpkg-deb", "--info", str(package), "conffiles").split()
    assert listed == sorted(
        name[1:] for name in tar.getnames() if name.startswith("./etc/") and tar.getmember(name).isreg()
    )


def test_later_builds_and_releases_upgrade_earlier_ones(tmp_path: Path) -> None:
    """The version has the time of the commit, and a release is newer than the builds before it."""
    early, late = (fields(build(tmp_path, SOURCE_DATE_EPOCH=str(10**9 + i)))["Version"] for i in range(2))
    newer = (early, late), (late, "0.1.0~b2-1~deb13"), ("0.1.0~b2-1~deb13", "0.1.0-1~deb13")
    for old, new in newer:
        command("dpkg", "--compare-versions", old, "lt", new)


def test_package_of_a_later_debian_upgrades_that_of_an_earlier_one(tmp_path: Path) -> None:
    """So an upgrade of the machine takes the package along."""
    earlier, later = (fields(build(tmp_path, suite, SOURCE_DATE_EPOCH="1000000000")) for suite in ("trixie", "testing"))
    command("dpkg", "--compare-versions", earlier["Version"], "lt", later["Version"])
    assert earlier["Depends"] == later["Depends"]


def test_dependencies_are_those_of_the_project(package: Path) -> None:
    told = fields(package)["Depends"]
    wanted = re.findall(r'"(dnspython|msgpack|trio|structlog|h11)>=', (CHECKOUT / "pyproject.toml").read_text())
    assert {f"python3-{name}" for name in wanted} <= set(re.findall(r"python3-\w+", told))


def test_scripts_are_sound(package: Path) -> None:
    for script in ("postinst", "prerm", "postrm"):
        text = command("dpkg-deb", "--info", str(package), script)
        assert "@" not in text
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)


@pytest.mark.skipif(shutil.which("lintian") is None, reason="there is no lintian")
def test_lintian_finds_no_error(package: Path) -> None:
    done = subprocess.run(["lintian", "--allow-root", package], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert [line for line in done.stdout.splitlines() if line.startswith("E:")] == []
    assert done.returncode == 0


def test_unknown_suite_is_refused() -> None:
    done = subprocess.run([DEPLOY / "package", "deb", "sid"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "deploy/package: sid is not bookworm, trixie or testing\n")
