"""Recipes for clients that take a connected socket: each function is the recipe."""

from __future__ import annotations

import asyncio
import shlex
import ssl
import subprocess
import sys
from collections.abc import Callable

import asyncssh
import paramiko
import pymysql
import pytest
import websockets
import websockets.sync.client
import websockets.sync.server

import nsbroker
from nsbroker.adapters import asyncio as inside
from support.adapters import mysql_server
from support.adapters.example_org import CLIENT, HOST, UNTRUSTED, ExampleOrg
from support.adapters.programs import Function, find_program
from support.adapters.ssh_server import USER, SshServer
from support.users import can_start_programs

WEBSOCKET_PORT = 8001


def by_paramiko(namespace: str, key: str, known_hosts: str) -> str:
    blue = nsbroker.Namespace(namespace)
    with paramiko.SSHClient() as client:
        client.load_host_keys(known_hosts)
        sock = blue.create_connection((HOST, 22))
        client.connect(HOST, username=USER, key_filename=key, sock=sock, allow_agent=False, look_for_keys=False)
        return client.exec_command("who am I")[1].read().decode()


def by_asyncssh(namespace: str, key: str, known_hosts: str) -> str:
    async def connect() -> str:
        sock = await inside.connect(namespace, HOST, 22)
        how = {"username": USER, "client_keys": [key], "known_hosts": known_hosts}
        async with asyncssh.connect(HOST, sock=sock, config=None, agent_path=None, **how) as connection:
            return str((await connection.run("who am I")).stdout)

    return asyncio.run(connect())


def by_openssh(namespace: str, key: str, known_hosts: str, *, pass_on: bool = True) -> str:
    get = shlex.join([sys.executable, "-P", "-m", "nsbroker.cli", namespace, "connect"])
    proxy = [f"ProxyCommand={get} -F %h %p", "ProxyUseFdpass=yes"] if pass_on else [f"ProxyCommand={get} %h %p"]
    options = (*proxy, f"UserKnownHostsFile={known_hosts}", "BatchMode=yes")
    ssh = ["ssh", "-F", "none", "-i", key, *(part for option in options for part in ("-o", option))]
    done = subprocess.run([*ssh, f"{USER}@{HOST}", "who am I"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_openssh_through_a_relay(namespace: str, key: str, known_hosts: str) -> str:
    return by_openssh(namespace, key, known_hosts, pass_on=False)


@pytest.mark.parametrize("recipe", [by_openssh, by_openssh_through_a_relay])
def test_openssh_connection_comes_from_the_namespace(
    site: ExampleOrg, ssh: SshServer, recipe: Callable[..., str]
) -> None:
    """nsbroker-get passes a descriptor on, or uses its own pipes. The client is unprivileged."""
    if not can_start_programs():
        pytest.skip("other users can't run this Python with this package")
    if find_program("ssh") is None:
        pytest.skip("there is no ssh")
    assert site.run(recipe, str(ssh.user_key), str(ssh.known_hosts)).split()[0] == CLIENT


@pytest.mark.parametrize("recipe", [by_paramiko, by_asyncssh])
def test_ssh_connection_comes_from_the_namespace(site: ExampleOrg, ssh: SshServer, recipe: Callable[..., str]) -> None:
    """The server's key is verified by its original name."""
    assert site.run(recipe, str(ssh.user_key), str(ssh.known_hosts)).split()[0] == CLIENT


def by_websockets(namespace: str) -> str:
    blue = nsbroker.Namespace(namespace)
    sock = blue.create_connection((HOST, WEBSOCKET_PORT))
    with websockets.sync.client.connect(f"ws://{HOST}:{WEBSOCKET_PORT}", sock=sock, proxy=None) as connection:
        return str(connection.recv())


def by_websockets_and_asyncio(namespace: str) -> str:
    async def connect() -> str:
        sock = await inside.connect(namespace, HOST, WEBSOCKET_PORT)
        async with websockets.connect(f"ws://{HOST}:{WEBSOCKET_PORT}", sock=sock, proxy=None) as connection:
            return str(await connection.recv())

    return asyncio.run(connect())


def serve_websockets() -> None:
    def tell_peer(connection: websockets.sync.server.ServerConnection) -> None:
        connection.send(connection.remote_address[0])

    with websockets.sync.server.serve(tell_peer, "0.0.0.0", WEBSOCKET_PORT) as server:
        server.serve_forever()


@pytest.mark.parametrize("recipe", [by_websockets, by_websockets_and_asyncio])
def test_websocket_comes_from_the_namespace(site: ExampleOrg, recipe: Callable[..., str]) -> None:
    server = Function(site.server, [WEBSOCKET_PORT], serve_websockets)
    try:
        assert site.run(recipe) == CLIENT
    finally:
        server.stop()


def by_pymysql(namespace: str, host: str = HOST) -> str:
    blue = nsbroker.Namespace(namespace)
    # TLS verifies the certificate of this host.
    with pymysql.connect(
        host=host, user=mysql_server.USER, ssl=ssl.create_default_context(), defer_connect=True
    ) as connection:
        connection.connect(blue.create_connection((host, mysql_server.PORT)))
        with connection.cursor() as cursor:
            cursor.execute("SELECT host FROM information_schema.processlist WHERE id = connection_id()")
            return str(cursor.fetchall()[0][0]).partition(":")[0]


@pytest.mark.usefixtures("mysql")
def test_mysql_connection_comes_from_the_namespace(site: ExampleOrg) -> None:
    assert site.run(by_pymysql) == CLIENT


@pytest.mark.usefixtures("mysql")
def test_mysql_server_is_verified_by_its_original_name(site: ExampleOrg) -> None:
    with pytest.raises(pymysql.OperationalError, match="certificate"):
        site.run(by_pymysql, UNTRUSTED)
