"""Packets with descriptors arrive whole, each descriptor has one owner, and none leaks."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
from array import array
from collections.abc import Iterator

import pytest

from nsbroker.link import fdpass

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        yield left, right


@pytest.fixture
def pipes() -> Iterator[list[int]]:
    """300 descriptors: more than any packet takes."""
    fds = [fd for _ in range(150) for fd in os.pipe2(os.O_CLOEXEC)]
    yield fds
    for fd in fds:
        os.close(fd)


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def same_file(left: int, right: int) -> bool:
    return os.path.samestat(os.fstat(left), os.fstat(right))


def test_packet_arrives_whole(pair: Pair) -> None:
    fdpass.lend_packet(pair[0], b"x" * 65536)
    assert fdpass.take_packet(pair[1], 65536, 0) == (b"x" * 65536, [])


def test_packets_keep_their_bounds(pair: Pair) -> None:
    """Two packets are never read as one."""
    fdpass.lend_packet(pair[0], b"one")
    fdpass.lend_packet(pair[0], b"two")
    assert [fdpass.take_packet(pair[1], 100, 0)[0] for _ in range(2)] == [b"one", b"two"]


@pytest.mark.parametrize("count", [1, 2, 3, 252, 253])
def test_descriptors_arrive_in_order(pair: Pair, pipes: list[int], count: int) -> None:
    """Up to the kernel's most, 253, and whether their number is odd or even."""
    fdpass.lend_packet(pair[0], b"packet", pipes[:count])
    packet, fds = fdpass.take_packet(pair[1], 100, 253)
    try:
        assert packet == b"packet"
        assert len(fds) == count
        assert all(map(same_file, fds, pipes))
    finally:
        for fd in fds:
            os.close(fd)


def test_more_than_253_descriptors_are_refused_by_the_kernel(pair: Pair, pipes: list[int]) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        fdpass.lend_packet(pair[0], b"packet", pipes[:254])


def test_descriptors_are_close_on_exec(pair: Pair, pipes: list[int]) -> None:
    """Else a program that is started at that moment would inherit somebody's socket."""
    fdpass.lend_packet(pair[0], b"packet", pipes[:1])
    _, [fd] = fdpass.take_packet(pair[1], 100, 1)
    assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    os.close(fd)


def test_sender_keeps_its_own(pair: Pair, pipes: list[int]) -> None:
    fdpass.lend_packet(pair[0], b"packet", pipes[:2])
    for fd in fdpass.take_packet(pair[1], 100, 2)[1]:
        os.close(fd)
    os.write(pipes[1], b"x")
    assert os.read(pipes[0], 1) == b"x"


@pytest.mark.parametrize(("sent", "room"), [(1, 0), (2, 1), (3, 2), (4, 1), (253, 16), (253, 252)])
def test_unexpected_descriptors_are_closed(pair: Pair, pipes: list[int], sent: int, room: int) -> None:
    """One that slips through the padding of the control buffer would leak, one for each packet."""
    before = open_descriptors()
    fdpass.lend_packet(pair[0], b"packet", pipes[:sent])
    with pytest.raises(fdpass.TruncatedError, match="too many descriptors") as caught:
        fdpass.take_packet(pair[1], 100, room)
    assert (open_descriptors(), caught.value.kept_back) == (before, 0)


@pytest.mark.parametrize(("sent", "came"), [(1, 0), (3, 0), (3, 2)])
def test_descriptors_that_the_kernel_keeps_back_are_counted(pair: Pair, pipes: list[int], sent: int, came: int) -> None:
    """Here the table of the process has no room. Those that came are closed."""
    fdpass.lend_packet(pair[0], b"packet", pipes[:sent])
    before, limits = open_descriptors(), resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + came, limits[1]))
    try:
        with pytest.raises(fdpass.TruncatedError, match=f"only {came} descriptors came") as caught:
            fdpass.take_packet(pair[1], 100, sent)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (open_descriptors(), caught.value.kept_back) == (before, sent - came)


def test_descriptors_of_a_packet_that_is_too_long_are_closed(pair: Pair, pipes: list[int]) -> None:
    before = open_descriptors()
    fdpass.lend_packet(pair[0], b"x" * 101, pipes[:3])
    with pytest.raises(fdpass.TruncatedError, match="too long"):
        fdpass.take_packet(pair[1], 100, 3)
    assert open_descriptors() == before


def test_unexpected_descriptors_can_be_given_away(pair: Pair, pipes: list[int]) -> None:
    """Closing a hostile descriptor can block, so the broker does not do it here."""
    given: list[int] = []
    fdpass.lend_packet(pair[0], b"packet", pipes[:3])
    with pytest.raises(fdpass.TruncatedError):
        fdpass.take_packet(pair[1], 100, 2, give_fd=given.append)
    assert all(map(same_file, given, pipes))
    assert len(given) == 2
    for fd in given:
        os.close(fd)


def test_close_that_reports_an_error_does_not_keep_the_others(
    pair: Pair, pipes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender's own file system may answer close with EIO."""
    before = open_descriptors()
    close = os.close

    def close_with_error(fd: int) -> None:
        close(fd)
        raise OSError(5, "Input/output error")

    fdpass.lend_packet(pair[0], b"packet", pipes[:3])
    with monkeypatch.context() as patch:
        patch.setattr(fdpass.os, "close", close_with_error)
        with pytest.raises(fdpass.TruncatedError):
            fdpass.take_packet(pair[1], 100, 2)
    assert open_descriptors() == before


def test_connection_goes_on_after_a_refused_packet(pair: Pair, pipes: list[int]) -> None:
    fdpass.lend_packet(pair[0], b"one", pipes[:3])
    fdpass.lend_packet(pair[0], b"two")
    with pytest.raises(fdpass.TruncatedError):
        fdpass.take_packet(pair[1], 100, 0)
    assert fdpass.take_packet(pair[1], 100, 0) == (b"two", [])


def test_several_control_messages_give_all_their_descriptors(pair: Pair, pipes: list[int]) -> None:
    """A sender can split its descriptors over control messages. Linux joins them."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [fd])) for fd in pipes[:2]]
    pair[0].sendmsg([b"packet"], rights)
    _, fds = fdpass.take_packet(pair[1], 100, 2)
    assert all(map(same_file, fds, pipes))
    assert len(fds) == 2
    for fd in fds:
        os.close(fd)


def test_end_of_the_connection_is_an_empty_packet(pair: Pair) -> None:
    pair[0].close()
    assert fdpass.take_packet(pair[1], 100, 1) == (b"", [])


def test_sending_to_nobody_is_an_error_and_no_signal(pair: Pair) -> None:
    pair[1].close()
    with pytest.raises(BrokenPipeError):
        fdpass.lend_packet(pair[0], b"packet")


def test_peek_takes_nothing(pair: Pair, pipes: list[int]) -> None:
    """The packet stays, and no descriptor of it enters this process."""
    fdpass.lend_packet(pair[0], b"packet", pipes[:2])
    before = open_descriptors()
    assert [fdpass.peek_packet(pair[1], 100) for _ in range(2)] == [(b"packet", False, True)] * 2
    assert open_descriptors() == before
    packet, fds = fdpass.take_packet(pair[1], 100, 2)
    assert (packet, len(fds)) == (b"packet", 2)
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize(("size", "longer"), [(100, False), (101, True)])
def test_peek_tells_a_packet_that_is_too_long(pair: Pair, size: int, longer: bool) -> None:
    fdpass.lend_packet(pair[0], b"x" * size)
    assert fdpass.peek_packet(pair[1], 100) == (b"x" * 100, longer, False)


def test_peek_never_waits(pair: Pair) -> None:
    """Not even on a blocking socket."""
    with pytest.raises(BlockingIOError):
        fdpass.peek_packet(pair[1], 100)


def test_discarded_packet_installs_no_descriptor(pair: Pair, pipes: list[int]) -> None:
    """A descriptor that is never installed need not be closed."""
    fdpass.lend_packet(pair[0], b"one", pipes[:253])
    fdpass.lend_packet(pair[0], b"two")
    before = open_descriptors()
    fdpass.discard_packet(pair[1])
    assert open_descriptors() == before
    assert fdpass.take_packet(pair[1], 100, 0) == (b"two", [])


def test_discarded_descriptor_is_released(pair: Pair) -> None:
    """The last copy of a pipe's end goes away with the packet."""
    reader, writer = os.pipe()
    fdpass.lend_packet(pair[0], b"packet", [writer])
    os.close(writer)
    fdpass.discard_packet(pair[1])
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_copied_descriptors_stay_in_their_packet(pair: Pair, pipes: list[int]) -> None:
    """They are close-on-exec, and the packet can still be taken with all it brings."""
    fdpass.lend_packet(pair[0], b"packet", pipes[:3])
    copies, more_came = fdpass.copy_fds(pair[1], 3)
    assert not more_came
    assert all(map(same_file, copies, pipes[:3]))
    assert not any(os.get_inheritable(fd) for fd in copies)
    packet, fds = fdpass.take_packet(pair[1], 100, 3)
    assert packet == b"packet"
    for fd in copies + fds:
        os.close(fd)


def test_copies_are_no_more_than_asked_for(pair: Pair, pipes: list[int]) -> None:
    fdpass.lend_packet(pair[0], b"packet", pipes[:4])
    before = open_descriptors()
    copies, more_came = fdpass.copy_fds(pair[1], 3)
    assert more_came
    assert len(open_descriptors()) - len(before) == len(copies)
    for fd in copies:
        os.close(fd)


@pytest.mark.parametrize("packets", [[b""], [b"x"], [b"", b"x"]])
def test_hang_up_tells_whether_packets_are_left(pair: Pair, packets: list[bytes]) -> None:
    """Empty packets count too, with or without the other end, which still gets earlier packets."""
    fdpass.lend_packet(pair[1], b"reply")
    for packet in packets:
        fdpass.lend_packet(pair[0], packet)
    assert fdpass.hang_up(pair[1])
    for _ in packets:
        fdpass.discard_packet(pair[1])
    assert not fdpass.hang_up(pair[1])
    assert fdpass.take_packet(pair[0], 100, 0)[0] == b"reply"
    with pytest.raises(BrokenPipeError):
        fdpass.lend_packet(pair[0], b"more")
    pair[0].close()
    assert not fdpass.hang_up(pair[1])


def test_hang_up_sees_the_packets_of_who_left_replies_unread(pair: Pair) -> None:
    """The kernel reports that as ECONNRESET, before it shows a packet."""
    fdpass.lend_packet(pair[1], b"reply")
    fdpass.lend_packet(pair[0], b"request")
    pair[0].close()
    assert fdpass.hang_up(pair[1])
    fdpass.discard_packet(pair[1])
    assert not fdpass.hang_up(pair[1])


def test_dropped_connection_delivers_its_last_replies(pair: Pair, pipes: list[int]) -> None:
    """It had unread packets, for which close(2) alone would give the other end ECONNRESET."""
    fdpass.lend_packet(pair[1], b"reply")
    fdpass.lend_packet(pair[0], b"", pipes[:2])
    fdpass.lend_packet(pair[0], b"request", pipes[:2])
    fdpass.hang_up(pair[1])
    fdpass.drop_connection(pair[1].detach())
    assert fdpass.take_packet(pair[0], 100, 0)[0] == b"reply"
    assert fdpass.take_packet(pair[0], 100, 0)[0] == b""


def send_with(sock: socket.socket, packet: bytes, *fds: int) -> None:
    fdpass.lend_packet(sock, packet, list(fds))


@pytest.mark.parametrize("packets", [[], [b"x"], [b"", b"x" * 5000, b""]])
def test_connection_without_descriptors_is_hung_up_quickly(pair: Pair, packets: list[bytes]) -> None:
    """The other end reads the last reply, and then the end."""
    for packet in packets:
        send_with(pair[0], packet)
    send_with(pair[1], b"reply")
    assert not fdpass.hang_up_quickly(pair[1])
    pair[1].close()
    assert [pair[0].recv(10) for _ in range(2)] == [b"reply", b""]


@pytest.mark.parametrize("before", [[], [b""], [b"", b"x"]])
def test_hanging_up_quickly_finds_descriptors_behind_other_packets(
    pair: Pair, pipes: list[int], before: list[bytes]
) -> None:
    """It leaves them where they are, since closing them can take long."""
    for packet in before:
        send_with(pair[0], packet)
    send_with(pair[0], b"", pipes[0])
    assert fdpass.hang_up_quickly(pair[1])
    (fd,), _ = fdpass.copy_fds(pair[1], 10)
    os.close(fd)


def test_hanging_up_quickly_looks_at_few_packets(pair: Pair) -> None:
    """It does not know what is behind them."""
    for _ in range(50):
        send_with(pair[0], b"x")
    assert fdpass.hang_up_quickly(pair[1])
    assert fdpass.peek_packet(pair[1], 10)[0] == b"x"


def test_hanging_up_quickly_sees_the_descriptors_of_who_left_replies_unread(pair: Pair, pipes: list[int]) -> None:
    send_with(pair[1], b"reply")
    send_with(pair[0], b"x", pipes[0])
    pair[0].close()
    assert fdpass.hang_up_quickly(pair[1])
