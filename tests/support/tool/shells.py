"""Interactive shells with the completions of deploy/, and their offers for a line, as a user gets them."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import warnings
from pathlib import Path
from typing import Self

import pytest

from support.checkout import DEPLOY
from support.waiting import wait_until

COMPLETIONS = DEPLOY / "completions"
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")

_INSERT_ALL, _SHOW, _CLEAR = b"\x18i", b"\x18s", b"\x18c"
"""Our own keys: insert all matches into the line, write the line to a file, empty it."""

_READY = b"ready> "
"""The prompt. Keys that are typed before it appears can be lost."""

_BASH = f"""
PS1='{_READY.decode()}'
source {BASH_COMPLETION}
for file in {COMPLETIONS}/*.bash; do source "$file"; done
bind 'set enable-bracketed-paste off'
bind '"\\C-xi": insert-completions'
bind '"\\C-xc": kill-whole-line'
show() {{ printf %s "$READLINE_LINE" > "$SHOWN.new"; mv "$SHOWN.new" "$SHOWN"; }}
bind -x '"\\C-xs": show'
"""
_ZSH = f"""
PROMPT='{_READY.decode()}'
fpath=({COMPLETIONS} $fpath)
autoload -Uz compinit
compinit -u -D
zle -C insert-all complete-word _generic
zstyle ':completion:insert-all:*' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert yes
zstyle ':completion:insert-all:*' insert yes
bindkey '^Xi' insert-all
bindkey '^Xc' kill-buffer
show() {{ print -rn -- $BUFFER > $SHOWN.new; mv $SHOWN.new $SHOWN }}
zle -N show
bindkey '^Xs' show
"""


class Shell:
    """A shell. `directory` holds its files, and is the first in its PATH. `command` is what it completes."""

    def __init__(self, name: str, directory: Path, environment: dict[str, str], command: str = "nsbroker-get") -> None:
        self._program = shutil.which(name) or pytest.skip(f"there is no {name}")
        if name == "bash" and not BASH_COMPLETION.exists():
            pytest.skip("there is no bash-completion")
        self._name = name
        self._command = command
        self._environment = {
            **environment,
            "PATH": f"{directory}:{os.environ['PATH']}",
            "HOME": str(directory),
            "ZDOTDIR": str(directory),
            "SHOWN": str(directory / "shown"),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
        }
        self._shown = directory / "shown"
        self._keyboard = -1
        self._seen = b""
        self._pid = 0
        if name != "fish":
            file = directory / {"bash": "bashrc", "zsh": ".zshrc"}[name]
            file.write_text(_BASH if name == "bash" else _ZSH)
            self._start(["--rcfile", str(file), "-i"] if name == "bash" else ["-i"])

    def _start(self, args: list[str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the child uses none of theirs
            self._pid, self._keyboard = pty.fork()
        if self._pid == 0:
            try:
                os.execve(self._program, [self._program, *args], self._environment)
            finally:
                os._exit(1)
        wait_until(lambda: _READY in self._read_some())

    def _read_some(self) -> bytes:
        if select.select([self._keyboard], [], [], 0.01)[0]:
            self._seen += os.read(self._keyboard, 65536)
        return self._seen

    def complete(self, line: str) -> list[str]:
        """The words that are offered for the end of the line."""
        if self._name == "fish":
            return self._ask_fish(line)
        self._shown.unlink(missing_ok=True)
        os.write(self._keyboard, _CLEAR + line.encode() + _INSERT_ALL + _SHOW)
        wait_until(lambda: bool(self._read_some()) and self._shown.exists())
        before = line.rpartition(" ")[0]
        words = self._shown.read_text()
        assert words.startswith(before), (line, words)
        return shlex.split(words.removeprefix(before))

    def _ask_fish(self, line: str) -> list[str]:
        script = f"source {COMPLETIONS}/{self._command}.fish; complete -C {shlex.quote(line)}"
        done = subprocess.run(
            [self._program, "-c", script], env=self._environment, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return [row.partition("\t")[0] for row in done.stdout.splitlines()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._keyboard)
