"""Finding the user's own container: an engine that answers well, badly, late or never, and the proof of its process."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsbroker.drivers.thread import run
from nsbroker.link import asking_engines, own_containers
from nsbroker.link.own_containers import OwnContainer, OwnContainerError, find, read_file
from support.brokers.fake import descriptors
from support.own_engine import (
    ID,
    Answer,
    FakeEngine,
    Process,
    answer_with,
    describe,
    fake_engine,
    make_command,
    process_of_container,
    send,
)
from support.waiting import wait_until

TIMEOUT_S = 30.0
LONG_AGO = "2001-01-01T00:00:00Z"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The XDG_RUNTIME_DIR of the test, which also has no command podman."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


@pytest.fixture
def process() -> Iterator[Process]:
    with process_of_container() as process:
        yield process


@pytest.fixture
def engine(runtime: Path, process: Process) -> Iterator[FakeEngine]:
    with fake_engine(runtime, answer_with(describe(process.pid))) as engine:
        yield engine


def look(name: str = "podman:mine", timeout_s: float = TIMEOUT_S) -> OwnContainer:
    return run(find(name, timeout_s))


def reason(name: str = "podman:mine", timeout_s: float = TIMEOUT_S) -> str:
    """The reason why there is no container. No descriptor stays open."""
    before = descriptors(first=True)
    with pytest.raises(OwnContainerError) as caught:
        look(name, timeout_s)
    wait_until(lambda: descriptors() == before)  # The engine is in this process, too.
    return str(caught.value)


def network(container: OwnContainer) -> tuple[int, int]:
    """The device and inode of the namespace that was found. This closes it."""
    status = os.fstat(container.fd)
    os.close(container.fd)
    return status.st_dev, status.st_ino


def test_socket_of_podman_names_the_process(engine: FakeEngine, process: Process) -> None:
    container = look()
    assert not os.get_inheritable(container.fd)
    assert network(container) == process.network
    assert engine.requests == [b"GET /containers/mine/json HTTP/1.0\r\nHost: localhost\r\n\r\n"]


def test_socket_of_rootless_docker_names_the_process(runtime: Path, process: Process) -> None:
    with fake_engine(runtime, answer_with(describe(process.pid)), "docker"):
        assert network(look("docker:mine")) == process.network
    assert "your own docker can't be asked" in reason("docker:mine")


def test_answer_may_come_in_parts(engine: FakeEngine, process: Process) -> None:
    text = b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(describe(process.pid)).encode()

    def dribble(connection: socket.socket) -> None:
        for start in range(0, len(text), 50):
            connection.sendall(text[start : start + 50])

    engine.answer = dribble
    assert network(look()) == process.network


def test_megabyte_of_labels_is_read(engine: FakeEngine, process: Process) -> None:
    engine.answer = answer_with(describe(process.pid, Config={"Labels": {"x": "y" * 2**20}}))
    assert network(look()) == process.network


@pytest.mark.parametrize("name", ["", "-x", "a b", "x" * 300, "..", "a\r\nb", "\u00fc"])
def test_name_that_no_container_can_have_is_asked_nowhere(engine: FakeEngine, name: str) -> None:
    assert "no container can have the name" in reason(f"podman:{name}")
    assert engine.requests == []


def no_container(text: str) -> str:
    return f"your own podman says: {text}"


def test_404_is_the_answer(engine: FakeEngine) -> None:
    engine.answer = answer_with({"cause": "no such container"}, "404 Not Found")
    assert reason() == no_container("there is no container 'mine'")


def test_other_name_is_an_id(engine: FakeEngine, process: Process) -> None:
    engine.answer = answer_with(describe(process.pid, "other"))
    assert reason() == no_container("there is no container 'mine': this is an id of 'other'")


def test_stopped_container_is_none(engine: FakeEngine, process: Process) -> None:
    engine.answer = answer_with(describe(process.pid, State={"Running": False}))
    assert reason() == no_container("the container 'mine' does not run, so start it")


def long(start: bytes, part: bytes) -> Answer:
    """Answer with much more than is read."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        for _ in range(1000):
            connection.sendall(part * 10_000)

    return answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (send(b""), "not HTTP, or cut off"),
        (send(b"\0\xff" * 500), "not HTTP, or cut off"),
        (send(b"HTTP/1.0 200 OK\r\n\r\n{"), "not JSON, or cut off"),
        (send(b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n"), "HTTP status 302"),
        (answer_with({}, "500 Internal Server Error"), "HTTP status 500"),
        (answer_with([]), "no description"),
        (long(b"HTTP/1.0 200 OK\r\n", b"X-A: b\r\n"), "longer than 4194304 bytes"),
        (long(b"HTTP/1.0 200 OK\r\n\r\n", b'{"a":'), "longer than 4194304 bytes"),
    ],
)
def test_bad_answer_is_named(engine: FakeEngine, answer: Answer, message: str) -> None:
    """The time is not up before the bound of the length: the answer is read as fast as it comes."""
    engine.answer = answer
    text = reason()
    assert text.startswith(f"your own podman can't be asked: {engine.path}: ")
    assert message in text
    assert text.endswith("; there is no command podman on the PATH")


def test_engine_that_hangs_is_given_up(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking_engines, "SOCKET_LIMIT_S", 0.05)

    def until_the_client_is_gone(connection: socket.socket) -> None:
        connection.recv(1)

    engine.answer = until_the_client_is_gone
    assert "it does not answer in time" in reason()


def test_engine_that_answers_byte_by_byte_is_given_up(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is something to read at all times, and it does not extend the time."""
    monkeypatch.setattr(asking_engines, "SOCKET_LIMIT_S", 0.05)
    monkeypatch.setattr(asking_engines, "_read_some", lambda _: b"x")

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"xx")
        connection.recv(1)

    engine.answer = answer
    assert "it does not answer in time" in reason()


def test_engine_with_a_full_backlog_is_given_up(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking_engines, "SOCKET_LIMIT_S", 0.05)
    (runtime / "podman").mkdir()
    path = str(runtime / "podman/podman.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        assert "it takes no connections" in reason()


def test_without_socket_and_command_both_are_named(runtime: Path) -> None:
    """A socket file without a server is as good as none."""
    path = runtime / "podman/podman.sock"
    ending = "; there is no command podman on the PATH"
    assert reason() == f"your own podman can't be asked: {path}: No such file or directory{ending}"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert reason() == f"your own podman can't be asked: {path}: Connection refused{ending}"


def test_socket_of_another_user_is_refused(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root with the XDG_RUNTIME_DIR of a user must not believe that user's engine."""
    monkeypatch.setattr(asking_engines.os, "geteuid", lambda: os.getuid() + 1)
    assert f"it belongs to the uid {os.getuid()}, not to you" in reason()
    assert engine.requests in ([], [b""])


class TestCommand:
    """`podman container inspect`, for a user without the service."""

    def test_is_asked_without_a_socket(self, runtime: Path, process: Process) -> None:
        (runtime / "answer").write_text(json.dumps([describe(process.pid) | {"Name": "mine"}]))
        make_command(
            runtime / "bin", f'echo "$@" > {runtime}/args; while read -r l; do echo "$l"; done < {runtime}/answer'
        )
        (runtime / "answer").write_text((runtime / "answer").read_text() + "\n")
        assert network(look()) == process.network
        assert (runtime / "args").read_text() == "container inspect mine\n"

    def test_is_asked_if_the_socket_fails(self, engine: FakeEngine, runtime: Path, process: Process) -> None:
        engine.answer = send(b"no")
        make_command(runtime / "bin", f"echo '{json.dumps([describe(process.pid)])}'")
        assert network(look()) == process.network

    def test_is_not_asked_if_the_socket_has_no_such_container(self, engine: FakeEngine, runtime: Path) -> None:
        engine.answer = answer_with({}, "404 Not Found")
        make_command(runtime / "bin", f"echo > {runtime}/asked")
        assert reason() == no_container("there is no container 'mine'")
        assert not (runtime / "asked").exists()

    def test_says_that_there_is_no_such_container(self, runtime: Path) -> None:
        make_command(runtime / "bin", "echo 'Error: no such container mine' >&2; exit 125")
        assert reason() == no_container("there is no container 'mine'")

    def test_says_why_it_fails(self, runtime: Path) -> None:
        """Only the beginning, in one line."""
        command = make_command(runtime / "bin", f"echo 'cannot\n  clone: {'x' * 5000}' >&2; exit 1")
        assert f"{command}: it ended with the status 1: cannot clone: {'x' * 180}" in reason()
        assert len(reason()) < 1000

    def test_that_hangs_is_killed(self, runtime: Path) -> None:
        make_command(runtime / "bin", f"echo $$ > {runtime}/pid; exec /bin/sleep 1000")
        assert "it does not end in time" in reason(timeout_s=1)
        assert not Path(f"/proc/{(runtime / 'pid').read_text().strip()}").exists()

    def test_with_endless_output_is_killed(self, runtime: Path) -> None:
        make_command(
            runtime / "bin", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"
        )
        assert f"longer than {asking_engines.MAX_ANSWER_BYTES} bytes" in reason()

    def test_with_a_child_that_lives_on_is_not_waited_for(self, runtime: Path, process: Process) -> None:
        """Podman may leave a process that keeps its output open."""
        make_command(
            runtime / "bin", f"/bin/sleep 60 & echo $! > {runtime}/child; echo '{json.dumps([describe(process.pid)])}'"
        )
        assert network(look()) == process.network
        os.kill(int((runtime / "child").read_text()), 9)

    def test_asks_no_other_machine(self, runtime: Path, process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CONTAINER_HOST", "ssh://elsewhere")
        text = json.dumps([describe(process.pid)])
        make_command(runtime / "bin", f"test -z \"$CONTAINER_HOST\" && echo '{text}'")
        assert network(look()) == process.network

    def test_is_not_taken_from_a_relative_path(self, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make_command(runtime / "bin", "exit 0")
        monkeypatch.chdir(runtime)
        monkeypatch.setenv("PATH", "bin:")
        assert "there is no command podman on the PATH" in reason()


class TestProof:
    """The process that the engine names is the container's, and its network is the user's own."""

    def test_dead_process_is_asked_about_again(self, engine: FakeEngine, process: Process) -> None:
        """As between the end and the start of a container that restarts."""
        ended = subprocess.Popen(["/bin/true"])
        ended.wait()
        gone = answer_with(describe(ended.pid))

        def then_right(connection: socket.socket) -> None:
            engine.answer = answer_with(describe(process.pid))
            gone(connection)

        engine.answer = then_right
        assert network(look()) == process.network

    def test_dead_process_is_never_believed(self, engine: FakeEngine) -> None:
        """Podman says for ever that a container runs whose monitor was killed."""
        ended = subprocess.Popen(["/bin/true"])
        ended.wait()
        engine.answer = answer_with(describe(ended.pid))
        assert f"'mine' runs as the process {ended.pid}, which is gone" in reason()
        assert len(engine.requests) == 3

    def test_zombie_has_no_network(self, engine: FakeEngine) -> None:
        with subprocess.Popen(["/bin/true"]) as zombie:
            os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
            engine.answer = answer_with(describe(zombie.pid))
            assert "is gone, or is another program's by now" in reason()

    def test_younger_process_has_a_number_that_is_used_again(self, engine: FakeEngine, process: Process) -> None:
        engine.answer = answer_with(describe(process.pid, State={"StartedAt": LONG_AGO}))
        assert "is gone, or is another program's by now" in reason()

    def test_unknown_start_proves_nothing(self, engine: FakeEngine, process: Process) -> None:
        engine.answer = answer_with(describe(process.pid, State={"StartedAt": "yesterday"}))
        assert "is gone, or is another program's by now" in reason()

    @pytest.mark.parametrize("group", [f"libpod-{ID}.scope", f"libpod-{ID}", f"docker-{ID}.scope", ID])
    def test_control_group_with_the_id_proves_it_at_any_time(
        self, engine: FakeEngine, process: Process, group: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The clock of a machine may have been set since the container started."""
        engine.answer = answer_with(describe(process.pid, State={"StartedAt": LONG_AGO}))
        read = own_containers._read_proc
        groups = f"0::/user.slice/{group}/container\n".encode()
        monkeypatch.setattr(
            own_containers, "_read_proc", lambda name, fd: groups if name == "cgroup" else read(name, fd)
        )
        assert network(look()) == process.network

    def test_control_group_of_another_id_proves_nothing(
        self, engine: FakeEngine, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine.answer = answer_with(describe(process.pid, State={"StartedAt": LONG_AGO}))
        read = own_containers._read_proc
        groups = f"0::/libpod-{'5b' * 32}.scope/x{ID}/libpod-{ID[:-1]}\n".encode()
        monkeypatch.setattr(
            own_containers, "_read_proc", lambda name, fd: groups if name == "cgroup" else read(name, fd)
        )
        assert "is another program's by now" in reason()

    def test_network_of_this_program_is_refused(self, engine: FakeEngine) -> None:
        with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as ours:
            engine.answer = answer_with(describe(ours.pid))
            assert reason() == no_container("its network is the one of this program (--network host)")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root has a network namespace that is not its own here")
    def test_network_of_another_owner_is_refused(
        self, engine: FakeEngine, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uid = os.geteuid() + 1
        monkeypatch.setattr(asking_engines, "_check_peer", lambda _: None)
        monkeypatch.setattr(own_containers.os, "geteuid", lambda: uid)
        text = f"its network belongs to the uid {os.getuid()}, not to you (--network host or ns:)"
        assert reason() == no_container(text)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other users")
def test_process_of_another_user_is_refused(open_directory: Path) -> None:
    """Its user can't open the network of another user's process, whatever an engine says."""
    from support.users import USER, as_user

    with process_of_container() as process:  # of root

        def ask_as_user() -> str:
            os.environ.update(XDG_RUNTIME_DIR=str(open_directory / "run"), PATH="/nonexistent")
            with fake_engine(open_directory / "run", answer_with(describe(process.pid))):
                return reason()

        os.mkdir(open_directory / "run")
        os.chmod(open_directory / "run", 0o777)
        expected = no_container(f"its process {process.pid} is not yours, so neither is its network")
        assert as_user(USER, USER, ask_as_user) == expected


def test_event_loop_goes_on_while_the_engine_is_asked(engine: FakeEngine, process: Process) -> None:
    """The engine answers only after another task of the loop has run."""
    import asyncio

    from nsbroker.drivers.asyncio import run as run_in_loop

    asked, other_task_ran = threading.Event(), threading.Event()
    well = answer_with(describe(process.pid))

    def answer(connection: socket.socket) -> None:
        asked.set()
        if other_task_ran.wait(60):
            well(connection)

    async def other_task() -> None:
        while not asked.is_set():
            await asyncio.sleep(0.001)
        other_task_ran.set()

    async def both() -> OwnContainer:
        other = asyncio.create_task(other_task())
        found = await run_in_loop(find("podman:mine", TIMEOUT_S))
        await other
        return found

    engine.answer = answer
    assert network(asyncio.run(both())) == process.network


@pytest.mark.parametrize("library", ["asyncio", "trio", "anyio"])
@pytest.mark.parametrize("way", ["socket", "command"])
def test_every_event_loop_can_wait_for_podman(
    engine: FakeEngine, runtime: Path, process: Process, library: str, way: str
) -> None:
    import anyio

    driver = importlib.import_module(f"nsbroker.drivers.{library}")
    if way == "command":
        engine.close()
        make_command(runtime / "bin", f"/bin/sleep 0.1; echo '{json.dumps([describe(process.pid)])}'")

    async def look_there() -> OwnContainer:
        found: OwnContainer = await driver.run(find("podman:mine", TIMEOUT_S))
        return found

    backend = "trio" if library == "trio" else "asyncio"
    assert network(anyio.run(look_there, backend=backend)) == process.network


def test_cancelled_question_leaves_nothing_open(engine: FakeEngine, runtime: Path) -> None:
    """Neither to the socket nor to the command, which ends."""
    before = descriptors(first=True)
    waiting = find("podman:mine", TIMEOUT_S)
    waiting.send(None)
    waiting.close()
    make_command(runtime / "bin", f"echo $$ > {runtime}/pid; exec /bin/sleep 1000")
    engine.close()
    waiting = find("podman:mine", TIMEOUT_S)
    waiting.send(None)
    wait_until(lambda: (runtime / "pid").exists() and (runtime / "pid").read_text().endswith("\n"))
    waiting.close()
    assert not Path(f"/proc/{(runtime / 'pid').read_text().strip()}").exists()
    wait_until(lambda: descriptors() <= before)


class TestFiles:
    """The resolv.conf and hosts that an engine names: the user's own files, which the container can write."""

    def test_text_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "hosts").write_bytes(b"10.0.0.1 db\xff\n")
        assert read_file(str(tmp_path / "hosts")) == "10.0.0.1 db\ufffd\n"

    def test_absent_file_is_empty(self, tmp_path: Path) -> None:
        assert read_file(str(tmp_path / "hosts")) == ""
        assert read_file("") == ""

    def test_symbolic_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "hosts").symlink_to("/etc/hosts")
        with pytest.raises(OSError, match=r"can't read the container's file .*/hosts: it is a symbolic link"):
            read_file(str(tmp_path / "hosts"))

    def test_pipe_and_directory_are_refused_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "hosts")
        for path in (tmp_path / "hosts", tmp_path):
            with pytest.raises(OSError, match="it is no regular file"):
                read_file(str(path))

    def test_large_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "hosts"
        path.write_bytes(b"#" * 2**16)
        assert len(read_file(str(path))) == 2**16
        os.truncate(path, 20 * 2**20)
        with pytest.raises(OSError, match="it is larger than 65536 bytes"):
            read_file(str(path))


def test_library_and_tool_do_not_load_this(tmp_path: Path) -> None:
    """Only a container's name loads the code for it. Then neither typing nor asyncio is needed."""
    code = """
import sys
import nsbroker.cli.command, nsbroker.module.namespace
assert not {name for name in sys.modules if "containers" in name or "engine" in name or name in ("json", "subprocess")}
import nsbroker.link.containers
assert not {"asyncio", "subprocess", "http.client", "dataclasses", "argparse"} & set(sys.modules)
"""
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-B", "-c", code], env=environment, check=True)
