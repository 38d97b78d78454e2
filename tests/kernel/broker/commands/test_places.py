"""`nsbrokerd check` finds what `serve` would refuse: the places of socket, audit and limits, and the delegated ids."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.brokers.process import START_S, BrokerProcess
from support.own_etc import own_etc

GRANT = '[[grant]]\nname = "web"\nusers = ["root"]\nnamespaces = ["blue"]\nsockets = ["tcp"]\n'
LIMITED = GRANT + 'limit = { connect = ["10.0.0.0/8:443"] }\n'
READ_ONLY = "Read-only file system: name another place, or let the service write there (ReadWritePaths= of its unit)"


@pytest.fixture
def configured() -> Iterator[BrokerProcess]:
    """A broker that is not started."""
    broker = BrokerProcess(GRANT)
    yield broker
    broker.close()


def run(configured: BrokerProcess, verb: str) -> subprocess.CompletedProcess[str]:
    *python, _, option, path = configured.command()
    return subprocess.run([*python, verb, option, path], capture_output=True, text=True, timeout=START_S, check=False)


def line_of(configured: BrokerProcess, key: str) -> int:
    return 1 + next(at for at, line in enumerate(configured.config_path.read_text().splitlines()) if key in line)


def both_say(configured: BrokerProcess, table: str, key: str, reason: str) -> None:
    """`check` and `serve` fail with the same one line."""
    line = f"{configured.config_path}:{line_of(configured, f'{key} =')}: {table}.{key}: {reason}\n"
    for verb in ("check", "serve"):
        done = run(configured, verb)
        assert (done.returncode, done.stdout, done.stderr.removeprefix("nsbrokerd: ")) == (1, "", line)


@pytest.fixture
def read_only(configured: BrokerProcess) -> Iterator[Path]:
    """A file system that can't be written."""
    place = configured.directory / "read-only"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_audit_in_a_missing_directory(configured: BrokerProcess) -> None:
    missing = configured.directory / "missing"
    configured.audit_path = missing / "audit"
    configured.configure(GRANT)
    reason = f"{missing} does not exist: create it, or name another place than {configured.audit_path}"
    both_say(configured, "audit", "path", reason)
    assert not missing.exists()


def test_audit_that_is_a_directory(configured: BrokerProcess) -> None:
    configured.audit_path = configured.directory
    configured.configure(GRANT)
    both_say(configured, "audit", "path", f"{configured.directory} can't be written: Is a directory: name a file in it")


def test_audit_below_a_file(configured: BrokerProcess) -> None:
    configured.audit_path = configured.config_path / "audit"
    configured.configure(GRANT)
    reason = f"{configured.audit_path} can't be written: Not a directory: name a file in a directory"
    both_say(configured, "audit", "path", reason)


def test_audit_that_cant_be_written(configured: BrokerProcess, read_only: Path) -> None:
    configured.audit_path = read_only / "audit"
    configured.configure(GRANT)
    both_say(configured, "audit", "path", f"{configured.audit_path} can't be made: {READ_ONLY}")


def test_audit_file_that_cant_be_written(configured: BrokerProcess, read_only: Path) -> None:
    """The file is there, but its file system has become read-only."""
    remount = ["mount", "-o", "remount"]
    subprocess.run([*remount, "-o", "rw", str(read_only)], check=True)
    configured.audit_path = read_only / "audit"
    configured.audit_path.touch()
    subprocess.run([*remount, "-o", "ro", str(read_only)], check=True)
    configured.configure(GRANT)
    both_say(configured, "audit", "path", f"{configured.audit_path} can't be written: {READ_ONLY}")


def test_check_makes_no_audit_and_no_socket(configured: BrokerProcess) -> None:
    assert run(configured, "check").returncode == 0
    assert [path.name for path in configured.directory.iterdir()] == ["nsbrokerd.toml"]


def test_check_does_not_end_the_reader_of_a_pipe(configured: BrokerProcess) -> None:
    """A writer that opens the pipe and closes it would."""
    os.mkfifo(configured.audit_path)
    reader = os.open(configured.audit_path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert run(configured, "check").returncode == 0
        writer = os.open(configured.audit_path, os.O_WRONLY | os.O_NONBLOCK)
        os.write(writer, b"the first writer")
        os.close(writer)
        assert os.read(reader, 100) == b"the first writer"
    finally:
        os.close(reader)


def test_pipe_that_no_one_reads(configured: BrokerProcess) -> None:
    os.mkfifo(configured.audit_path)
    done = run(configured, "serve")
    line = f"{configured.config_path}:{line_of(configured, 'path =')}: audit.path: {configured.audit_path} can't be "
    remedy = "written: No such device or address: start the program that reads this pipe, or name a file\n"
    assert (done.returncode, done.stderr) == (1, f"nsbrokerd: {line}{remedy}")


def test_socket_in_a_missing_directory(configured: BrokerProcess) -> None:
    missing = configured.directory / "missing"
    configured.socket_path = missing / "socket"
    configured.configure(GRANT)
    reason = f"{missing} does not exist: create it, or name another place than {configured.socket_path}"
    both_say(configured, "broker", "socket", reason)


def test_socket_in_a_place_that_cant_be_written(configured: BrokerProcess, read_only: Path) -> None:
    configured.socket_path = read_only / "socket"
    configured.configure(GRANT)
    both_say(configured, "broker", "socket", f"{configured.socket_path} can't be made: {READ_ONLY}")


def test_socket_with_a_long_path(configured: BrokerProcess) -> None:
    """The longest path that the kernel takes is fine."""
    room = 107 - len(str(configured.directory)) - 1
    configured.socket_path = configured.directory / ("x" * room)
    configured.configure(GRANT)
    assert run(configured, "check").returncode == 0
    configured.start()
    configured.stop()
    configured.socket_path = configured.directory / ("x" * (room + 1))
    configured.configure(GRANT)
    reason = f"{configured.socket_path} has 108 bytes, and a socket's path at most 107: shorten it"
    both_say(configured, "broker", "socket", reason)


def test_another_file_in_place_of_the_socket(configured: BrokerProcess) -> None:
    configured.socket_path.touch()
    both_say(configured, "broker", "socket", f"{configured.socket_path} is no socket: remove it, or use another path")


def test_control_socket_in_a_missing_directory(configured: BrokerProcess) -> None:
    """The broker serves without it, and its status line says why. `check` fails with the same reason."""
    control = configured.directory / "missing" / "control"
    text = configured.config_path.read_text()
    configured.config_path.write_text(text.replace("[broker]\n", f'[broker]\ncontrol = "{control}"\n', 1))
    reason = f"{control.parent} does not exist: create it, or name another place than {control}"
    done = run(configured, "check")
    line = f"{configured.config_path}:{line_of(configured, 'control =')}: broker.control: {reason}\n"
    assert (done.returncode, done.stderr) == (1, line)
    configured.start()
    assert f"the control socket: {reason}" in configured.status()
    configured.stop()


def test_check_is_content_with_a_socket_that_is_served(broker: BrokerProcess, configured: BrokerProcess) -> None:
    """Also with a socket that a service manager keeps, and with one that a killed broker left behind."""
    assert run(broker, "check").returncode == 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as kept:
        kept.bind(str(configured.socket_path))
        kept.listen()
        configured.socket_path.chmod(0o660)
        assert run(configured, "check").returncode == 0
        kept.setblocking(False)
        with pytest.raises(BlockingIOError):  # it has not connected
            kept.accept()
    assert run(configured, "check").returncode == 0


def test_socket_that_cant_be_given_to_its_group(configured: BrokerProcess) -> None:
    """As in a container without CAP_CHOWN."""
    *python, _, option, path = configured.command()
    group = configured.config_path.read_text().partition('socket_group = "')[2].partition('"')[0]
    line = f"{path}:{line_of(configured, 'socket_group')}: broker.socket_group: this process may not give "
    line += f"{configured.socket_path} to the group {group}: let it have CAP_CHOWN, run it in that group, or let a "
    line += "service manager make the socket\n"
    for verb in ("check", "serve"):
        command = ["setpriv", "--bounding-set=-chown", *python, verb, option, path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=False)
        assert (done.returncode, done.stderr.removeprefix("nsbrokerd: ")) == (1, line)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("{here}/seal", "{here}/seal is on no BPF file system: name a directory below /sys/fs/bpf"),
        ("{here}/missing/seal", "{here}/missing does not exist: name a directory below /sys/fs/bpf"),
        ("{here}/nsbrokerd.toml", "{here}/nsbrokerd.toml is no directory: remove it, or name another place"),
    ],
)
def test_limits_in_a_place_without_bpf(configured: BrokerProcess, place: str, reason: str) -> None:
    """Without limits, `check` says that there can be none."""
    configured.seal_path = Path(place.format(here=configured.directory))
    configured.configure(LIMITED)
    both_say(configured, "broker", "seal", reason.format(here=configured.directory))
    configured.configure(GRANT)
    done = run(configured, "check")
    told = f"limits: this host can't enforce any: {reason.format(here=configured.directory)}"
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, told)
    configured.seal_path = configured.directory / "nothing-to-remove"


@pytest.mark.parametrize("name", ["subuid", "subgid"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.chmod(0o666), "users other than root can write {path}; run chown root and chmod go-w"),
        (lambda path: path.write_text("#" * (2**21 + 1)), "{path} can't be read: it has more than 2097152 bytes"),
        (lambda path: (path.unlink(), path.mkdir()), "{path} can't be read: not a regular file"),
    ],
    ids=["writable", "long", "directory"],
)
def test_bad_files_of_delegated_ids(
    configured: BrokerProcess, name: str, spoil: Callable[[Path], object], reason: str
) -> None:
    """The broker serves without them, with an error in its log. `check` fails with the same reason."""
    reason = reason.format(path=f"/etc/{name}")
    with own_etc() as etc:
        (etc / name).touch()
        (etc / name).chmod(0o644)
        spoil(etc / name)
        done = run(configured, "check")
        told = "can't read which ids are delegated, so all ids of other users count as one user: "
        assert (done.returncode, done.stderr) == (1, f"{configured.config_path}: {told}{reason}\n")
        configured.start()
        configured.stop()
    assert reason in configured.log()


def test_failed_reload_has_the_same_reason(broker: BrokerProcess) -> None:
    """The broker has its socket already."""
    broker.socket_path = broker.audit_path = broker.directory / "missing" / "file"
    broker.configure(GRANT)
    reason = f"audit.path: {broker.directory}/missing does not exist: create it, or name another place than "
    assert reason in broker.reload()
    assert "broker.socket:" not in broker.log()
