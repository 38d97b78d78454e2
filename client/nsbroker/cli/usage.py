"""`--help` and `--version`."""

from __future__ import annotations

import sys

from .command import Command

HELP = """\
usage: nsbroker-get [OPTIONS] NS connect [-uF] [-4|-6] [-w SECONDS] [-s SOURCE] HOST PORT
       nsbroker-get [OPTIONS] NS listen  [-u] [-4|-6] -l ADDR:PORT [-l ...] [--fdname NAME ...] -- CMD [ARG...]
       nsbroker-get [OPTIONS] NS [run] -- CMD [ARG...]
       nsbroker-get [OPTIONS] NS socket  --type KIND [-4|-6] [--bind ADDR:PORT] --fd N -- CMD [ARG...]
       nsbroker-get [OPTIONS] list [NS] [--json]

Sockets in network namespaces, without root: the broker makes them, and this program or CMD uses them.
NS is a name, @host for the broker's own namespace, or a path such as /proc/PID/ns/net.

options
  --broker PATH      the broker's socket (else $NSBROKER_SOCKET, else /run/nsbroker/nsbroker.sock)
  --timeout SECONDS  how long to wait for the broker (5)
  --wait SECONDS     how long to wait for a namespace that does not exist yet (0, at most 60)
  -h, --help         this text
  --version          the version

connect: standard input goes to HOST PORT, what comes back to standard output.
    nsbroker-get blue connect www.example.org http < request
    ssh -o ProxyCommand='nsbroker-get blue connect -F %h %p' -o ProxyUseFdpass=yes user@host
  HOST is an address or a name, which is looked up in NS; of several addresses the first that answers is taken.
  At the end of standard input the connection is half-closed, and it goes on until the peer ends, as with nc -N.
  When the peer ends first, standard output is closed, and the rest of standard input is still sent. It ends by
  SIGPIPE when nobody reads its standard output any more.
  -F  pass the connection itself over standard output, a Unix socket, and end
  -u  UDP: each read is one datagram, and only -w ends it    -s SOURCE   the address to connect from
  -4, -6  insist on this family                              -w SECONDS  limit for connecting, and for silence

listen: run CMD with listening sockets as its descriptors 3, 4, ..., and LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES.
    nsbroker-get blue listen -l 80 -l '[::]:80' -- uvicorn --fd 3 app:app
  -l ADDR:PORT   80, :80, *:80, 10.0.0.1:80 or [::]:80; ports below 1024 where the policy allows
  -u  UDP sockets, bound         --fdname NAME  for LISTEN_FDNAMES: one for all, or one for each -l (else NS)

run: run CMD, any program, so that every network socket that it or its children make is one of NS.
    nsbroker-get blue run -- curl http://10.0.0.1/
    nsbroker-get blue -- ip -brief address
  Its files from /etc/netns/NS are over those in /etc, as with ip netns exec. A socket that the policy does not grant
  is EACCES (Permission denied) in CMD, and a line here says why. Set-user-id programs run without their privileges,
  /proc/net and /sys/class/net show the caller's namespace, and CMD can't bind a port below 1024: use listen for that.

socket: run CMD with one socket as its descriptor N.
    nsbroker-get blue socket --type icmp --fd 3 -- ./pinger --socket 3
  --type KIND    tcp udp udplite mptcp sctp icmp packet raw:NAME netlink:NAME (raw:ospf, netlink:route, ...)
  --bind ADDR:PORT  bind it; for packet sockets --bind INTERFACE
  --fd N         which descriptor, may be given more than once

list: the namespaces that you may use, and the sockets that you may have there.
    nsbroker-get list --json

Exit status: CMD's own; 1 the broker refused or the connection failed; 125 nsbroker-get failed (usage, no broker);
126 CMD can't be executed; 127 CMD was not found; 130 interrupted.
"""


def run(command: Command) -> int:
    """Print the help, or the version."""
    sys.stdout.write(f"nsbroker-get {_version()}\n" if command.verb == "version" else HELP)
    return 0


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nsbroker")
    except PackageNotFoundError:
        return "(not installed)"
