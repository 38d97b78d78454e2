"""An answer that may not fit a packet: a memfd that its receiver can trust."""

from __future__ import annotations

import mmap
import os

import pytest

from nsbroker.wire import BlobReply
from nsbrokerd.requests.operation import make_blob


def test_blob_can_not_be_changed_by_any_process() -> None:
    """Neither the client nor the broker can write, cut or grow it, or map it for writing."""
    answer = make_blob(7, b"answer", ["a record"])
    assert answer.reply == BlobReply(7, 6)
    assert answer.details == ["a record"]
    (file,) = answer.files
    fd = file.fileno()
    try:
        for change in (lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 1), lambda: os.ftruncate(fd, 9)):
            with pytest.raises(PermissionError):
                change()
        with pytest.raises(PermissionError):
            mmap.mmap(fd, 6, mmap.MAP_SHARED, mmap.PROT_WRITE)
        with open(f"/proc/self/fd/{fd}", "rb") as reader:
            assert reader.read() == b"answer"
        assert not os.get_inheritable(fd)
    finally:
        file.close()
