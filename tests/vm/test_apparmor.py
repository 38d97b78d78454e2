"""A client that AppArmor confines: it uses sockets of the families that its profile has, and gets a clear refusal.

deploy/docs/confinement.md says so. Debian's kernels have AppArmor active, also without any profile.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsbroker.link.errors import CONFINED
from support.installed_service import TIMEOUT_S, Installed

PROFILE = """
abi <abi/3.0>,
profile {name} flags=(attach_disconnected) {{
  file,
  capability,
  signal,
  ptrace,
  unix,
  network unix,
  network netlink,
  {rules}
}}
"""
WITHOUT, WITH = "nsbroker-test-without-inet", "nsbroker-test-with-inet"
MAKE = """
import socket
sock = socket.socket(2, 1)
print(int(sock.family))
try: sock.connect(("127.0.0.1", 9))
except OSError as error: print(error.strerror)
"""

GET = ("nsbroker-get", "--timeout", str(TIMEOUT_S))


@pytest.fixture(scope="module", autouse=True)
def _profiles(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two profiles, loaded for this file. They differ in one rule."""
    if not Path("/sys/kernel/security/apparmor").exists():
        pytest.skip("this kernel has no AppArmor, or another security module is active")
    if not (shutil.which("apparmor_parser") and shutil.which("aa-exec")):
        pytest.skip("there is no apparmor_parser or aa-exec")
    file = tmp_path_factory.mktemp("apparmor") / "profiles"
    texts = PROFILE.format(name=WITHOUT, rules=""), PROFILE.format(name=WITH, rules="network inet stream,")
    file.write_text(texts[0] + texts[1].replace("abi <abi/3.0>,", ""))
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache", str(file)], check=True)
    yield
    subprocess.run(["apparmor_parser", "--remove", str(file)], check=True)


def run(*command: str) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return done.returncode, done.stdout, done.stderr


def confined(profile: str, *words: str) -> tuple[int, str, str]:
    return run("aa-exec", "--profile", profile, "--", *GET, *words)


SOCKET = ("@host", "socket", "--type", "tcp", "--fd", "3", "--", "true")


def test_socket_of_a_family_in_the_profile_arrives() -> None:
    assert confined(WITH, *SOCKET) == (0, "", "")


def test_socket_of_another_family_is_refused_and_named() -> None:
    """Not when it arrives, but at the client's first look at it."""
    line = f"nsbroker-get: Permission denied: {CONFINED}\n"
    assert confined(WITHOUT, *SOCKET) == (1, "", line)


def test_denial_is_in_the_log_of_the_kernel() -> None:
    """The document sends the reader there."""
    confined(WITHOUT, *SOCKET)
    subprocess.run(["journalctl", "--sync"], check=True)
    log = subprocess.run(["journalctl", "-k", "--no-pager"], capture_output=True, text=True, check=True).stdout
    denials = [line for line in log.splitlines() if 'apparmor="DENIED"' in line and f'profile="{WITHOUT}"' in line]
    assert any('operation="getsockopt"' in line and 'family="inet"' in line for line in denials), denials


@pytest.mark.parametrize(("profile", "said"), [(WITH, "2\nConnection refused\n"), (WITHOUT, "2\nPermission denied\n")])
def test_confined_program_under_run_is_refused_each_call(profile: str, said: str) -> None:
    """It gets the socket. The profile counts when it connects."""
    words = ("aa-exec", "--profile", profile, "--", "python3", "-c", MAKE)
    assert run(*GET, "@host", "run", "--", *words) == (0, said, "")
