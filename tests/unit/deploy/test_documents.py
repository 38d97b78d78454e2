"""The documents: every example has a test, every link leads somewhere, and the pure examples are right."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import msgpack
import pytest

from nsbroker import wire
from nsbrokerd.config import parse_config
from support.checkout import CHECKOUT
from support.documents import RUN_BY, Example, anchors, documents, examples, links
from support.everybody import Everybody


@pytest.mark.parametrize("example", examples(), ids=str)
def test_every_example_is_of_a_kind_that_some_test_runs(example: Example) -> None:
    assert example.kind in RUN_BY


EVERY_TEXT = [*documents(), *sorted(CHECKOUT.glob("tests/**/*.md")), *sorted(CHECKOUT.glob(".github/*.md"))]


@pytest.mark.parametrize("document", EVERY_TEXT, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_each_guarantee_of_the_table_is_said_in_one_place() -> None:
    """tests/unit/mutants/test_guarantees.py compares the table with the list of mutants."""
    rows = re.findall(r"^\| `(g-[a-z0-9-]+)` \|", (CHECKOUT / "broker" / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    said = Counter(anchor for path in documents() for anchor in anchors(path) if anchor.startswith("g-"))
    assert said == Counter(rows)
    assert set(said.values()) == {1}


def test_readme_is_short() -> None:
    assert len((CHECKOUT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("example", examples("toml"), ids=str)
def test_configuration_can_be_loaded(example: Example) -> None:
    main, files = (str(example), example.text), []
    if example.path == "grants.toml":  # beside a file that switches on pods
        main, files = ("", '[engines]\npod = "/run/cri.sock"\n'), [main]
    config = parse_config(main, files, Everybody())
    assert config.policy.grants or "[[grant]]" not in example.text


@pytest.mark.parametrize(
    "example", examples("sh podman", "sh vm", "sh vm last", "sh deb", "sh checkout", "sh quadlet"), ids=str
)
def test_shell_can_read_it(example: Example) -> None:
    done = subprocess.run(["bash", "-n"], input=example.text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("example", examples("sh checkout"), ids=str)
def test_command_is_in_the_checkout(example: Example) -> None:
    for line in example.text.splitlines():
        command, *arguments = line.partition("#")[0].split()
        text = (CHECKOUT / command).read_text()
        assert (CHECKOUT / command).stat().st_mode & 0o111
        assert all(argument in text for argument in arguments)


def packet(example: Example) -> bytes:
    """The bytes of a commented dump: the hexadecimal words at the beginning of each line."""
    words = [re.match(r" *((?:[0-9a-f]+(?: +|$))*)", line) for line in example.text.splitlines()]
    return bytes.fromhex("".join(match[1] for match in words if match))


@pytest.mark.parametrize("example", examples("request"), ids=str)
def test_dump_of_a_request_is_one(example: Example) -> None:
    request = wire.decode_request(packet(example))
    assert wire.encode_request(request) == packet(example)
    comments = example.text
    for spec in getattr(request, "sockets", ()):
        assert f'"ns": "{spec.namespace}"' in comments
        assert f'"listen": {spec.listen}' in comments


@pytest.mark.parametrize("example", examples("reply"), ids=str)
def test_dump_of_a_reply_is_one(example: Example) -> None:
    reply = wire.decode_reply(packet(example))
    assert wire.encode_reply(reply) == packet(example)
    assert isinstance(reply, wire.OpenReply)
    for opened in reply.sockets:
        assert f'"cookie": {opened.cookie}' in example.text
    for entered in reply.namespaces:
        assert f"cookie {entered.cookie}\n" in example.text
        assert f"device {entered.device}\n" in example.text
        assert f"inode {entered.inode}\n" in example.text


@pytest.mark.parametrize("example", examples("delivery"), ids=str)
def test_dump_of_a_delivery_is_one(example: Example) -> None:
    assert wire.encode_delivery(1) == packet(example)


@pytest.mark.parametrize("example", examples("json reply"), ids=str)
def test_reply_in_json_is_one(example: Example) -> None:
    assert isinstance(wire.decode_reply(msgpack.packb(json.loads(example.text))), wire.ErrorReply)


def test_there_is_something_to_test() -> None:
    """The patterns above still fit the documents."""
    kinds = Counter(example.kind for example in examples())
    assert kinds.keys() == RUN_BY.keys()
    assert kinds["toml"] >= 5


def test_architecture_names_files_that_exist() -> None:
    text = (CHECKOUT / "broker" / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:[\w-]+/)+(?:[\w.-]+\.\w+)?)`", text)) - {"client/nsbroker/adapters/LIBRARY.py"}
    roots = (CHECKOUT, CHECKOUT / "broker" / "nsbrokerd", CHECKOUT / "client" / "nsbroker")
    assert [name for name in sorted(named) if not any((root / name).exists() for root in roots)] == []
    assert len(named) > 40
