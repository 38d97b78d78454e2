"""Every example in Python that the README shows runs as it stands there, without rights, and leaks nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
import requests

from example_org import ExampleOrg
from namespaces import PREFIX

README = (Path(__file__).parents[2] / "README.md").read_text()
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


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6
