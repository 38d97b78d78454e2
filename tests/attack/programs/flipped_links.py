"""Flip a link on the way to the configuration while the broker's code loads it.

The directory with the link is writable for the attacker's group. The link leads to root's configuration or to the
attacker's, in turns. The loader checked one, and opened the other: 1 of 16 loads took the attacker's policy. Now the
loader opens each part of the path without following links, and checks what it has opened.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.users import GROUP

from ..attack import ATTACKER, Attack, Orders, Target

FLIPPER, LOADER = 0, 1

GOOD, HOSTILE, REFUSED = "good", "hostile", "refused"

_LOAD = """
import sys
from pathlib import Path
from nsbrokerd.config import ConfigError
from nsbrokerd.config.load import load_config
while True:
    try:
        print(*(grant.name for grant in load_config(Path(sys.argv[1])).policy.grants), flush=True)
    except ConfigError:
        print("refused", flush=True)
"""

_CONFIGURATION = """
[broker]
socket_group = "root"
[[grant]]
name = "{name}"
users = ["*"]
namespaces = ["*"]
sockets = ["tcp"]
"""


def _shared(target: Target) -> Path:
    """The directory that the attacker's group can write."""
    return Path(target.path).with_name("shared")


@contextmanager
def configurations(target: Target) -> Iterator[None]:
    """Make both configurations. They go with the directory of the broker."""
    shared = _shared(target)
    shared.mkdir()
    os.chown(shared, 0, GROUP)
    shared.chmod(0o775)
    for name, uid in ((GOOD, 0), (HOSTILE, ATTACKER)):
        directory = shared.with_name(name)
        directory.mkdir()
        os.chown(directory, uid, GROUP)
        (directory / "nsbrokerd.toml").write_text(_CONFIGURATION.format(name=name))
    (shared / "etc").symlink_to(shared.with_name(GOOD))
    yield


def attack(target: Target, number: int, orders: Orders) -> None:
    if number == LOADER:
        _load(target, orders)
        return
    os.setgroups([])
    os.setresgid(GROUP, GROUP, GROUP)
    os.setresuid(ATTACKER, ATTACKER, ATTACKER)
    way = _shared(target) / "etc"
    orders.is_ready(FLIPPER)
    while orders.goes_on():
        for name in (HOSTILE, GOOD):
            way.with_name("next").symlink_to(way.parent.with_name(name))
            way.with_name("next").rename(way)


def _load(target: Target, orders: Orders) -> None:
    """Load the configuration again and again, with the code of the version under attack."""
    command = [sys.executable, "-P", "-c", _LOAD, str(_shared(target) / "etc" / "nsbrokerd.toml")]
    environment = {**os.environ, **({"PYTHONPATH": target.python_path} if target.python_path else {})}
    taken = 0
    with subprocess.Popen(command, env=environment, cwd="/", stdout=subprocess.PIPE, text=True) as loader:
        try:
            assert loader.stdout is not None
            while orders.goes_on():
                name = loader.stdout.readline().strip()
                assert name in (GOOD, HOSTILE, REFUSED), name
                taken += name == HOSTILE
                orders.holds(LOADER, taken)
                orders.has_done(LOADER)
                orders.is_ready(LOADER)
        finally:
            loader.kill()


FLIPPED_LINKS = Attack(
    "flipped links",
    __doc__ or "",
    attack,
    2,
    "loads",
    "loads took the attacker's policy",
    0,
    uid=0,
    prepare=configurations,
)
