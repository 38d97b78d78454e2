"""OpenSSH's sshd: to a user with the right key it says where the connection came from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.adapters.example_org import ExampleOrg
from support.adapters.programs import find_program

PORT = 22
USER = "root"

_PRIVILEGE_SEPARATION = Path("/run/sshd")
"""It stays, as after a start of Debian's own service: the sshd of another test run can use it."""


def why_not() -> str | None:
    return None if find_program("sshd") else "SSH needs the command sshd (openssh-server)"


class SshServer:
    """The server, from the constructor to `stop`. `known_hosts` and `user_key` are files for its clients."""

    def __init__(self, site: ExampleOrg) -> None:
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        directory = site.directory / "ssh"
        directory.mkdir()
        host_key, self.user_key = directory / "host", directory / "user"
        for key in (host_key, self.user_key):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        # An unprivileged user reads it. It opens only this server.
        self.user_key.chmod(0o644)
        self.known_hosts = directory / "known_hosts"
        self.known_hosts.write_text(f"www.example.org {host_key.with_suffix('.pub').read_text()}")
        configuration = directory / "sshd_config"
        configuration.write_text(
            f"Port {PORT}\nHostKey {host_key}\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {directory}/user.pub\nPasswordAuthentication no\n"
            'ForceCommand echo "$SSH_CONNECTION"\n'
        )
        self._program = site.start_server(
            str(find_program("sshd")), "-D", "-e", "-f", str(configuration), ports=(PORT,)
        )

    def stop(self) -> None:
        self._program.stop()
