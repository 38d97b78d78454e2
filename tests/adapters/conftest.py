"""Fixtures of the adapters' tests: example.org, and each of its servers when the first test asks for it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.adapters import (
    example_org,
    ftp_server,
    mail_servers,
    mqtt_server,
    mysql_server,
    recipe_servers,
    redis_server,
    s3_server,
    ssh_server,
    web_server,
)
from support.adapters.example_org import ExampleOrg
from support.adapters.programs import Function


@pytest.fixture(scope="session")
def site() -> Iterator[ExampleOrg]:
    """Two joined namespaces with names, a broker, and a place outside of both that counts every packet."""
    if reason := example_org.why_not():
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="nsbroker-test-"))
    directory.chmod(0o755)  # Clients that are another user read certificates there.
    try:
        made = ExampleOrg(directory)
        yield made
        made.close()
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def web(site: ExampleOrg) -> Iterator[None]:
    """Nginx at www.example.org, on the ports of `web_server`."""
    if reason := web_server.why_not():
        pytest.skip(reason)
    program = web_server.start(site)
    yield
    program.stop()


@pytest.fixture(scope="session")
def redis_at_example_org(site: ExampleOrg) -> Iterator[None]:
    """A redis-server at redis.example.org, on the ports of `redis_server`."""
    if reason := redis_server.why_not():
        pytest.skip(reason)
    program = redis_server.start(site)
    yield
    program.stop()


@pytest.fixture(scope="session")
def mysql(site: ExampleOrg) -> Iterator[None]:
    """A MySQL server at www.example.org."""
    if reason := mysql_server.why_not():
        pytest.skip(reason)
    program = mysql_server.start(site)
    yield
    program.stop()


@pytest.fixture(scope="session")
def mail(site: ExampleOrg) -> Iterator[None]:
    """SMTP and IMAP at mail.example.org, on the ports of `mail_servers`."""
    certificate = str(site.certificate)
    servers = [
        Function(site.server, mail_servers.SMTP_PORTS, mail_servers.serve_smtp, certificate),
        Function(site.server, mail_servers.IMAP_PORTS, mail_servers.serve_imap, certificate),
    ]
    yield
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def ftp(site: ExampleOrg) -> Iterator[None]:
    """FTP at ftp.example.org, on the ports of `ftp_server`."""
    files = site.directory / "ftp"
    files.mkdir()
    server = Function(site.server, ftp_server.PORTS, ftp_server.serve, str(files), str(site.certificate))
    yield
    server.stop()


@pytest.fixture(scope="session")
def mqtt(site: ExampleOrg) -> Iterator[mqtt_server.MqttServer]:
    """Mosquitto at mqtt.example.org, on the ports of `mqtt_server`."""
    if reason := mqtt_server.why_not():
        pytest.skip(reason)
    server = mqtt_server.MqttServer(site)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3(site: ExampleOrg) -> Iterator[None]:
    """S3 and the metadata services at s3.example.org, on the ports of `s3_server`."""
    server = Function(site.server, s3_server.PORTS, s3_server.serve, str(site.certificate))
    yield
    server.stop()


@pytest.fixture(scope="session")
def http_recipes(site: ExampleOrg) -> Iterator[None]:
    """An Elasticsearch and a push gateway at www.example.org."""
    ports = [recipe_servers.ELASTICSEARCH_PORT, recipe_servers.PUSH_PORT]
    server = Function(site.server, ports, recipe_servers.serve_http)
    yield
    server.stop()


@pytest.fixture(scope="session")
def postgres(site: ExampleOrg) -> Iterator[None]:
    """A PostgreSQL at www.example.org, which knows one query."""
    server = Function(site.server, [recipe_servers.POSTGRES_PORT], recipe_servers.serve_postgres)
    yield
    server.stop()


@pytest.fixture(scope="session")
def router(site: ExampleOrg) -> Iterator[None]:
    """A router at router.example.org, whose shell knows one command."""
    server = Function(site.server, [recipe_servers.ROUTER_PORT], recipe_servers.serve_router)
    yield
    server.stop()


@pytest.fixture(scope="session")
def ssh(site: ExampleOrg) -> Iterator[ssh_server.SshServer]:
    """An sshd at www.example.org, with keys for the server and for its user."""
    if reason := ssh_server.why_not():
        pytest.skip(reason)
    server = ssh_server.SshServer(site)
    yield server
    server.stop()
