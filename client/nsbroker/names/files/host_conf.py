"""host.conf(5): how a hosts file is read. Lines that are not valid are ignored.

Source: resolv/res_hconf.c in glibc. The other keywords that the manual page lists have no effect there.
"""

from __future__ import annotations

import re

from ...wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_DOMAINS = 4
"""TRIMDOMAINS_MAX of glibc."""


class HostConf(Record):
    """The settings.

    Attributes:
        multi: each line of a hosts file counts that has a name, not only the first one.
        reorder: an address in a network of the namespace comes first.
        trim: ends of names that are cut off from the names of an address.
    """

    multi: bool = False
    reorder: bool = False
    trim: tuple[str, ...] = ()

    def trimmed(self, name: str) -> str:
        """Return a name without the first of the ends that it has."""
        for end in self.trim:
            if len(name) > len(end) and name.lower().endswith(end.lower()):
                return name[: len(name) - len(end)]
        return name


def parse(text: str, environment: Mapping[str, str]) -> HostConf:
    """Read a host.conf, and the variables of the environment that override it."""
    settings: dict[str, bool] = {}
    trim: list[str] = []
    for line in text.split("\n"):
        keyword, value = re.fullmatch(r"\s*([^\s#,]*)\s*(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]  # it matches every text
        if keyword.lower() in ("multi", "reorder"):
            _switch(settings, keyword.lower(), value)
        elif keyword.lower() == "trim":
            trim += _domains(value)
    _switch(settings, "multi", environment.get("RESOLV_MULTI", ""))
    _switch(settings, "reorder", environment.get("RESOLV_REORDER", ""))
    trim += _domains(environment.get("RESOLV_ADD_TRIM_DOMAINS", ""))
    if "RESOLV_OVERRIDE_TRIM_DOMAINS" in environment:
        trim = _domains(environment["RESOLV_OVERRIDE_TRIM_DOMAINS"])
    return HostConf(trim=tuple(trim[:_MOST_DOMAINS]), **settings)


def _switch(settings: dict[str, bool], keyword: str, value: str) -> None:
    if match := re.match("on|off", value, re.IGNORECASE):
        settings[keyword] = match[0].lower() == "on"


def _domains(text: str) -> list[str]:
    return [domain for domain in re.split(r"[\s,;:]+", text.partition("#")[0]) if domain]
