"""The quadlet, as the generator of Debian 13 reads it. The generator runs in the image, which has its libraries."""

from __future__ import annotations

import re

from support.checkout import DEPLOY
from support.unified_podman import UnifiedPodman


def test_generator_makes_the_service_that_the_sockets_start(podman: UnifiedPodman, image: str) -> None:
    generator = (podman.directory / "quadlet").resolve()
    done = podman.run(
        *("run", "--rm", "--network=none", f"--volume={generator}:/quadlet:ro", "--env=QUADLET_UNIT_DIRS=/units"),
        *(f"--volume={DEPLOY / 'container' / 'nsbroker.container'}:/units/nsbroker.container:ro", image),
        *("/quadlet", "-dryrun"),
    )
    assert done.returncode == 0, done.stderr
    assert "---nsbrokerd.service---" in done.stdout
    assert not re.search("unsupported|converting|error", done.stderr, re.IGNORECASE), done.stderr
    [line] = re.findall(r"^ExecStart=(.*)$", done.stdout, re.MULTILINE)
    for option in ("--read-only", "--cap-drop all", "--cap-add sys_admin", "--cgroups=split", "--sdnotify=container"):
        assert option in line
    assert "-v /run/netns:/run/netns:ro,rslave" in line
