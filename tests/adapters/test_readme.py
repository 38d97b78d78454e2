"""Every example in Python that the README shows runs as it stands there, without rights, and leaks nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
import requests

from support.adapters.example_org import SERVER, ExampleOrg
from support.adapters.programs import find_program
from support.checkout import CHECKOUT
from support.namespaces import PREFIX

README = (CHECKOUT / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PREPARED = {"alpha": f"{PREFIX}alpha", "beta": f"{PREFIX}beta"}


def run_example(namespace: str, code: str) -> None:
    # A port of the machine itself may be in use.
    code = code.replace('("@host", ("", 8080))', '("@host", ("", 0))')
    for name, real in {**PREPARED, "blue": namespace}.items():
        code = code.replace(f'"{name}"', f'"{real}"')
    # requests brings its own authorities, and does not believe the environment; aiohttp read it when it was imported.
    authority = os.environ["SSL_CERT_FILE"]
    requests.adapters.DEFAULT_CA_BUNDLE_PATH = authority
    if context := getattr(requests.adapters, "_preloaded_ssl_context", None):
        context.load_verify_locations(authority)
    aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(authority)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


@pytest.mark.usefixtures("web", "redis_at_example_org")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_runs(site: ExampleOrg, make_namespace: Callable[[str], str], code: str) -> None:
    """What it shows is what happens."""
    for name in PREPARED:
        make_namespace(name)
    site.run(run_example, code)


SHELL = re.search(r"^## From the shell\n\n```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = SHELL.group(1).splitlines() if SHELL else []


@pytest.fixture
def commands(open_directory: Path) -> str:
    """A directory with nsbroker-get, and with the programs of the reader's own."""
    for name, line in {
        "nsbroker-get": f'exec {sys.executable} -P -m nsbroker.cli "$@"',
        # The real ones are tested in tests/kernel/client/cli/test_listen_programs.py.
        "gunicorn": 'test "$LISTEN_FDS" = 2 -a -S /proc/self/fd/3 -a -S /proc/self/fd/4',
        "nginx": 'test "$NGINX" = "3;" -a -S /proc/self/fd/3',
        "your-program": "test -S /proc/self/fd/5",
    }.items():
        (open_directory / name).write_text(f"#!/bin/sh\n{line}\n")
        (open_directory / name).chmod(0o755)
    return str(open_directory)


def run_line(namespace: str, line: str, path: str) -> tuple[int, str, str]:
    line = line.replace(" blue ", f" {namespace} ").replace("10.0.0.1", SERVER)
    # curl would believe in the proxies of the environment, which lead nowhere.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"PATH": f"{path}:{environment['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["sh", "-ec", line], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("line", COMMANDS, ids=range(len(COMMANDS)))
def test_command_runs(site: ExampleOrg, commands: str, line: str) -> None:
    """Each line of the shell's examples; nothing is said on standard error."""
    if "curl" in line and not find_program("curl"):
        pytest.skip("there is no curl")
    status, output, errors = site.run(run_line, line, commands)
    assert status == 0, errors
    assert bool(output) == (" -- " not in line or " run -- " in line)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6
    assert len(COMMANDS) >= 6
