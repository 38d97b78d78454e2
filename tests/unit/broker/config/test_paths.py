"""A command finds its broker by the main file, even if that is broken elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsbrokerd.config import DEFAULT_CONFIG_PATH, ConfigError, parse_config
from nsbrokerd.config.paths import Paths, read_paths
from support.everybody import Everybody

DEFAULT = Paths("/run/nsbroker/control.sock", "/sys/fs/bpf/nsbrokerd")


def read(tmp_path: Path, text: str) -> Paths:
    path = tmp_path / "nsbrokerd.toml"
    path.write_text(text)
    return read_paths(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", DEFAULT),
        ('[broker]\nsocket = "/run/x/s.sock"', Paths("/run/x/control.sock", DEFAULT.seal)),
        (
            '[broker]\nsocket = "/run/x/s.sock"\ncontrol = "/c"\nseal = "/sys/fs/bpf/x"',
            Paths("/c", "/sys/fs/bpf/x"),
        ),
    ],
)
def test_paths_are_those_of_the_broker(tmp_path: Path, text: str, expected: Paths) -> None:
    assert read(tmp_path, text) == expected
    config = parse_config(("main", text), [], Everybody())
    assert (config.control_path, config.seal_path) == expected[:2]


@pytest.mark.parametrize("text", ["[[grant]]\nnaem = 1", '[broker]\nsocket_group = "nope"\ncontrol = 1', "broker = 1"])
def test_other_mistakes_do_not_matter(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == DEFAULT


def test_paths_are_found_in_what_is_no_toml(tmp_path: Path) -> None:
    found = read(
        tmp_path, '[log]\nseal = "/no"\n[broker] # ours\ncontrol = "/c"  # a comment\nx =\n[other]\nseal = "/no"\n'
    )
    assert found[:2] == ("/c", DEFAULT.seal)
    assert found.problem is not None
    assert "not valid TOML" in found.problem


def test_missing_file_is_an_error_unless_it_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        read_paths(tmp_path / "none")
    monkeypatch.setattr("nsbrokerd.config.paths.DEFAULT_CONFIG_PATH", str(tmp_path / "none"))
    assert read_paths(tmp_path / "none")[:2] == DEFAULT[:2]
    assert DEFAULT_CONFIG_PATH == "/etc/nsbroker/nsbrokerd.toml"


def test_file_that_others_can_write_names_no_broker(tmp_path: Path) -> None:
    path = tmp_path / "nsbrokerd.toml"
    path.write_text("")
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="users other than root can write it"):
        read_paths(path)
