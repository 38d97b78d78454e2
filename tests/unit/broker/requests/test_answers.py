"""An answer that may not fit a packet: a memfd that its receiver can trust."""

from __future__ import annotations

import errno
import mmap
import os

import pytest

from nsbrokerd.requests.answers import seal


def test_answer_can_not_be_changed_by_anybody() -> None:
    """Neither by the client that gets it, nor by the broker: not written, cut, grown or mapped for writing."""
    fd = seal(b"answer")
    try:
        for change in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 1), lambda: os.ftruncate(fd, 9)):
            with pytest.raises(PermissionError):
                change()
        with pytest.raises(PermissionError):
            mmap.mmap(fd, 6, mmap.MAP_SHARED, mmap.PROT_WRITE)
        assert os.pread(fd, 99, 0) == b"answer"
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_answer_that_does_not_fit_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(OSError, match="space"):
        seal(b"answer")
    assert os.listdir("/proc/self/fd") == before
