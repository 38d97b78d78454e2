"""redis-server, with TLS on a port of its own."""

from __future__ import annotations

from support.adapters.example_org import ExampleOrg
from support.adapters.programs import Program, find_program

PORT, TLS_PORT = 6379, 6380


def why_not() -> str | None:
    return None if find_program("redis-server") else "Redis needs the command redis-server (redis-server)"


def start(site: ExampleOrg) -> Program:
    command = [str(find_program("redis-server")), "--port", str(PORT), "--tls-port", str(TLS_PORT)]
    command += ["--tls-cert-file", str(site.certificate), "--tls-key-file", str(site.certificate)]
    command += ["--tls-ca-cert-file", str(site.authority), "--tls-auth-clients", "no", "--bind", "0.0.0.0"]
    command += ["--protected-mode", "no", "--save", "", "--dir", str(site.directory)]
    return site.start_server(*command, ports=(PORT, TLS_PORT))
