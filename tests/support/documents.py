"""The documents, their examples, and their anchors.

An example is a fenced block. The words after its three backticks say who runs it, for example "sh vm". Every kind of
example is in RUN_BY, so no example can slip in without a test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from support.checkout import CHECKOUT

RUN_BY = {
    # In tests/adapters/test_readme.py, as a user without rights, at example.org:
    "python": "as it stands",
    "python patch": "in an interpreter of its own, where nothing is imported yet",
    "python server": "the same, until a client has been served",
    "python own": "beside a process with namespaces of its own, whose id is `pid`: the container web of a podman",
    "python sctp": "if this kernel has SCTP",
    "python metrics": "in tests/adapters/test_metrics.py, until it was scraped",
    "sh": "line by line",
    "sh server": "until a client has been served",
    "js server": "in tests/adapters/recipes/test_programs.py, until a client has been served",
    "sh capture": "in the same file, with another tcpdump in the place of Wireshark",
    "sh proxy": "its first line, and then each other line as a client",
    "go": "built as a program, and run",
    "go server": "the same, until a client has been served",
    "go mod": "in the module of these programs",
    # In tests/kernel/client/proxy/test_chromium.py:
    "sh browser": "without a screen",
    # In tests/unit/deploy/test_documents.py:
    "toml": "loaded as a configuration",
    "json audit": "compared with a real record",
    "json reply": "decoded",
    "request": "decoded and encoded again",
    "reply": "decoded and encoded again",
    "delivery": "encoded",
    # In tests/engines/test_rootless.py:
    "sh rootless": "by a user with podman",
    "sh podman": "only read by a shell: there is no podman",
    # In tests/unit/deploy/test_kubernetes.py:
    "yaml kustomization": "built by kustomize",
    "python pod": "compared with the client in deploy/kubernetes/example, which has a schema",
    "sh kubectl": "only read by a shell, with options that kubectl has: there is no cluster",
    # In tests/engines, with a podman of the test:
    "sh engines": "by root, and then by the user alice",
    # In tests/vm, on the installed service:
    "sh vm": "by root",
    "sh vm last": "by root, after everything else",
    "sh deb": "by root, on a host that has nothing of nsbroker",
    "sh alice": "by the user alice, after a login",
    "sh alice server": "by the user alice, and it keeps running",
    # In tests/engines/test_container.py and test_hooks.py, by root, with podman:
    "sh image": "in a checkout, with the base and the wheels of the tests",
    "sh image run": "with the image and the places of the tests",
    "sh hook": "in a checkout, with other places",
    "sh hook run": "with the image of the tests",
    "sh quadlet": "in tests/vm/containers, by root, in a checkout",
    # tests/kernel/test_quickstart.py runs deploy/quickstart, and tests/run is how it gets there.
    "sh checkout": "in a checkout, by root",
}


@dataclass(frozen=True, slots=True)
class Example:
    """One fenced block.

    Attributes:
        document: the file, relative to the checkout.
        line: the number of its first line.
        kind: a key of RUN_BY.
        path: for "toml", the file that the reader writes it to, if there is one.
        text: the block's lines.
    """

    document: str
    line: int
    kind: str
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def documents() -> list[Path]:
    """Return every document of the product, README.md first."""
    files = [
        CHECKOUT / "README.md",
        *sorted(CHECKOUT.glob("deploy/**/*.md")),
        *sorted(CHECKOUT.glob("client/docs/*.md")),
    ]
    return [*files, *sorted(CHECKOUT.glob("broker/*.md"))]


def examples(*kinds: str) -> list[Example]:
    """Return the examples of these kinds, or all, in the order of the documents."""
    found = [example for path in documents() for example in _examples_of(path)]
    return [example for example in found if not kinds or example.kind in kinds]


def _examples_of(path: Path) -> list[Example]:
    text, document = path.read_text(), str(path.relative_to(CHECKOUT))
    made = []
    for block in re.finditer(r"^```(\S*)(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE):
        language, words = block[1], block[2].strip()
        file = words if language == "toml" else ""
        kind = language if file else f"{language} {words}".strip()
        made.append(Example(document, text.count("\n", 0, block.start()) + 2, kind, file, block[3]))
    return made


def anchors(path: Path) -> list[str]:
    """Return what links can point to in a document: its headings, as GitHub names them, and its anchors."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = [heading.replace("`", "").lower() for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    return [re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings] + re.findall(
        r'<a id="([^"]+)">', text
    )


def links(path: Path) -> list[str]:
    """Return the targets of a document's links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"\s*\n\s*", " ", path.read_text()))
