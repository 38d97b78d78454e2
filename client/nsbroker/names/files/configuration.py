"""The files of a namespace, parsed, together with the environment of this program, which overrides some of them."""

from __future__ import annotations

import socket

# From here, because `patch` replaces those of the socket module.
from _socket import getprotobyname, getservbyname, getservbyport

from ...wire.record import Record
from . import gai_conf, host_conf, hosts, nsswitch, numbers, resolv_conf
from .own_file import read_own_file

_HOST_CONF = "RESOLV_HOST_CONF"
_VARIABLES = (
    "HOSTALIASES",
    "LOCALDOMAIN",
    "RES_OPTIONS",
    "RESOLV_ADD_TRIM_DOMAINS",
    _HOST_CONF,
    "RESOLV_MULTI",
    "RESOLV_OVERRIDE_TRIM_DOMAINS",
    "RESOLV_REORDER",
)
"""The variables that glibc's look-ups read. Source: environ(7), resolv.conf(5), host.conf(5), hostname(7)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ...wire.messages import ResolverFiles


class Configuration(Record):
    """The parsed files of a namespace.

    Attributes:
        settings: the resolv.conf.
        hosts: the hosts file.
        origin: the path of the resolv.conf, for errors.
        namespace: the namespace's name for errors, or "" if it has no name.
        sources: the sources of names in nsswitch.conf.
        host_conf: the host.conf.
        rules: the tables of gai.conf.
        port_of: returns the port of a service, given its name and protocol, as `socket.getservbyname`.
        service_of: returns the service of a port, as `socket.getservbyport`.
        protocol_of: returns the number of a protocol, as `socket.getprotobyname`.
        aliases_file: the value of HOSTALIASES: a file with other names for the names to look up. It may be "".
    """

    settings: resolv_conf.Settings
    hosts: hosts.Hosts
    origin: str = "/etc/resolv.conf"
    namespace: str = ""
    sources: tuple[nsswitch.Source, ...] = nsswitch.DEFAULT
    host_conf: host_conf.HostConf = host_conf.HostConf()
    rules: gai_conf.Rules = gai_conf.Rules()
    port_of: Callable[..., int] = getservbyname
    service_of: Callable[..., str] = getservbyport
    protocol_of: Callable[[str], int] = getprotobyname
    aliases_file: str = ""


def read_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that override files, for `parse`. RESOLV_HOST_CONF has the file's text, not its path."""
    variables = {name: environ[name] for name in _VARIABLES if name in environ}
    if _HOST_CONF in variables:
        variables[_HOST_CONF] = read_own_file(variables[_HOST_CONF])
    return variables


def parse(
    files: ResolverFiles,
    namespace: str = "",
    hostname: Callable[[], str] = socket.gethostname,
    environment: Mapping[str, str] | None = None,
) -> Configuration:
    """Parse a namespace's files.

    Args:
        files: the texts, and the path of the resolv.conf.
        namespace: the namespace's name for errors, or "".
        hostname: returns this machine's name. Its domain is searched if resolv.conf names no domain.
        environment: the variables that override the files, from `read_environment`.
    """
    variables, more = environment or {}, files.files
    conf = host_conf.parse(variables.get(_HOST_CONF, more.get("host.conf", "")), variables)
    configuration = Configuration(
        resolv_conf.parse(files.resolv_conf, hostname(), variables),
        hosts.parse(files.hosts, multi=conf.multi),
        files.origin,
        namespace,
        nsswitch.parse(more.get("nsswitch.conf", "")),
        conf,
        gai_conf.parse(more.get("gai.conf", "")),
        aliases_file=variables.get("HOSTALIASES", ""),
    )
    if "services" in more:
        services = numbers.Services(more["services"])
        configuration = configuration._replace(port_of=services.port_of, service_of=services.name_of)
    if "protocols" in more:
        protocols = more["protocols"]
        configuration = configuration._replace(protocol_of=lambda name: numbers.protocol_number(protocols, name))
    return configuration
