"""The memory of answers, as control groups count it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsbrokerd.requests.group_memory import GroupMemory, find_group


def make_group(path: Path, stat: str, *pids: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "memory.stat").write_text(stat)
    (path / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))


def describe(proc: Path, mount: str, groups: str) -> None:
    proc.mkdir()
    (proc / "mountinfo").write_text(f"21 1 0:20 / /sys rw - sysfs sysfs rw\n{mount}\n")
    (proc / "cgroup").write_text(groups)


def test_group_of_version_2_is_the_nearest_that_counts_memory(tmp_path: Path) -> None:
    """The broker moves to a group below its unit's, which counts no memory by itself."""
    unit = tmp_path / "cgroup/system.slice/nsbrokerd.service"
    make_group(unit, "anon 5\nshmem 4096\nshmem_thp 7\n")
    make_group(unit.parent, "shmem 1\n")
    (unit / "inner").mkdir()
    mount = f"30 21 0:26 / {tmp_path}/cgroup rw shared:9 - cgroup2 cgroup2 rw"
    describe(tmp_path / "proc", mount, "0::/system.slice/nsbrokerd.service/inner\n")
    group = find_group(tmp_path / "proc")
    assert group == GroupMemory(unit, "shmem")
    assert group.shared_bytes() == 4096


def test_group_of_version_1_counts_its_children(tmp_path: Path) -> None:
    make_group(tmp_path / "memory/a/b", "shmem 1\ntotal_shmem 8192\n", os.getpid())
    mount = f"30 21 0:26 /a {tmp_path}/memory/a rw - cgroup cgroup rw,memory"
    describe(tmp_path / "proc", mount, "5:cpu:/\n4:memory,hugetlb:/a/b\n0::/\n")
    group = find_group(tmp_path / "proc")
    assert group is not None
    assert group.shared_bytes() == 8192


def test_group_with_other_processes_says_nothing(tmp_path: Path) -> None:
    make_group(tmp_path / "shared", "shmem 4096\n", os.getpid(), 1)
    assert GroupMemory(tmp_path / "shared", "shmem").shared_bytes() is None
    assert GroupMemory(tmp_path / "none", "shmem").shared_bytes() is None


@pytest.mark.parametrize("groups", ["0::/\n", "0::/elsewhere\n", ""])
def test_group_without_memory_is_none(tmp_path: Path, groups: str) -> None:
    """The root of the hierarchy counts the whole host."""
    make_group(tmp_path / "cgroup", "shmem 4096\n")
    describe(tmp_path / "proc", f"30 21 0:26 / {tmp_path}/cgroup rw - cgroup2 cgroup2 rw", groups)
    assert find_group(tmp_path / "proc") is None
    assert find_group(tmp_path / "no proc") is None


@pytest.mark.parametrize("name", [b"a\rb", b"a\x0bb", "a\u2028b".encode(), b"a\xffb", "x\u2003-\u2003cgroup2".encode()])
def test_users_mount_may_have_any_path(tmp_path: Path, name: bytes) -> None:
    """Each of these ends a line or a field in Python, or is no UTF-8."""
    unit = tmp_path / "cgroup/unit"
    make_group(unit, "shmem 4096\n")
    describe(tmp_path / "proc", f"30 21 0:26 / {tmp_path}/cgroup rw - cgroup2 cgroup2 rw", "0::/unit\n")
    mounts = tmp_path / "proc/mountinfo"
    mounts.write_bytes(b"50 23 0:40 / /home/user/" + name + b" rw,nosuid - fuse user rw\n" + mounts.read_bytes())
    assert find_group(tmp_path / "proc") == GroupMemory(unit, "shmem")
