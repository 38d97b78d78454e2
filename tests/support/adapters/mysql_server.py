"""MariaDB's server, with TLS. Its only user can log in only from the clients' namespace."""

from __future__ import annotations

import subprocess

from support.adapters.example_org import CLIENT, ExampleOrg
from support.adapters.programs import Program, find_program

PORT = 3306
USER = "reader"


def why_not() -> str | None:
    found = find_program("mariadbd") and find_program("mariadb-install-db")
    return None if found else "MySQL needs the command mariadbd (mariadb-server-core, mariadb-client-core)"


def start(site: ExampleOrg) -> Program:
    files = site.directory / "mysql"
    options = ["--no-defaults", f"--datadir={files}", "--user=root"]
    install = [str(find_program("mariadb-install-db")), *options, "--auth-root-authentication-method=normal"]
    subprocess.run(install, check=True, capture_output=True)
    allow = site.directory / "mysql.sql"
    allow.write_text(f"CREATE USER {USER}@'{CLIENT}';")
    command = [str(find_program("mariadbd")), *options, f"--socket={files}/socket", f"--init-file={allow}"]
    command += ["--bind-address=0.0.0.0", f"--port={PORT}", "--skip-name-resolve"]
    command += [f"--ssl-cert={site.certificate}", f"--ssl-key={site.certificate}", f"--ssl-ca={site.authority}"]
    return site.start_server(*command, ports=(PORT,))
