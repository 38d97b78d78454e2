"""Files, variables and look-ups for which every way to look names up must have one answer."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from socket import AF_INET, AF_INET6, AI_ADDRCONFIG, AI_ALL, AI_CANONNAME, AI_V4MAPPED, SOCK_STREAM
from typing import NamedTuple

from support.names.asking import Call

RECORDS = [
    "--local=/#/", "--no-round-robin", "--txt-record=text.test,hello",
    "--cname=alias.test,middle.test", "--cname=middle.test,www.test",
    "--ptr-record=1.0.0.10.in-addr.arpa,www.corp.test", "--ptr-record=9.0.73.10.in-addr.arpa,-odd.test",
    f"--ptr-record={'.'.join(reversed('20010db8' + '0' * 23 + '1'))}.ip6.arpa,six.corp.test",
    *(
        f"--host-record={name},{address}"
        for name, addresses in {
            "www.test": ("10.0.0.1", "2001:db8::1"),
            "four.test": ("10.0.0.4",),
            "six.test": ("2001:db8::6",),
            "www.corp.test": ("10.0.0.9",),
            "under_score.test": ("10.0.0.5",),
            "dotted.name": ("10.0.0.6",),
            "xn--bcher-kva.test": ("10.0.0.8",),
            "both.test": ("10.73.0.2", "fd73::2"),
            "near.test": ("203.0.113.1", "10.73.0.9", "198.51.100.1"),
            "six-more.test": ("2001:db8::1", "fd73::9", "fec0::1", "2002:a49::1", "::1"),
            "mixed.test": ("169.254.1.1", "127.0.0.9", "10.73.0.2", "fe80::9", "2001::1"),
            "big.test": tuple(f"10.1.0.{number}" for number in range(1, 61)),
        }.items()
        for address in addresses
    ),
]  # fmt: skip
"""The options of the name server."""

HOSTS = """127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
10.73.0.98 web web.corp.test
10.73.0.97 host.example host HOST
10.73.0.96 host other.corp.test
2001:db8::5 host six-only
::ffff:10.73.0.95 mapped
"""
RESOLV_CONF = "nameserver 10.73.0.2\nsearch test corp.test\noptions timeout:1 attempts:1\n"
NSSWITCH = "hosts: files dns\nservices: files\nprotocols: files\n"

ALIASES = "short www.test\nSHORT four.test\nother\tWWW.corp.test x\nwww\nweb four.test\nnone \n"
NAMES: tuple[str | bytes, ...] = (
    "www", "www.test", "www.test.", "four", "both.test", "six.test", "near.test", "six-more.test", "mixed.test",
    "alias", "text.test", "nope", "nope.test", "dotted.name", "under_score", "localhost", "LOCALHOST", "web",
    "web.corp.test", "host", "six-only", "mapped", "ip6-localhost", "-www", "a..b", ".", "1.2.3.4.5", "big.test",
    "b\u00fccher.test", "a b", "x" * 64, b"www.test", b"\xff", "",
)  # fmt: skip
ADDRESSES = (
    "127.0.0.1", "::1", "127.1", "0x7f.1", "10.0.0.1", "10.73.0.98", "10.73.0.9", "2001:db8::1", "::ffff:10.0.0.1",
    "::10.0.0.1", "10.99.99.99", "::", "0.0.0.0", "fe80::b%va", "fe80::b%nope", "fe80::b%1", "<broadcast>",
    "255.255.255.255", "2001:db8::5",
)  # fmt: skip
HINTS = (
    (0, 0), (0, AI_CANONNAME | AI_ADDRCONFIG | AI_V4MAPPED), (AF_INET, 0), (AF_INET, AI_CANONNAME), (AF_INET6, 0),
    (AF_INET6, AI_CANONNAME | AI_ADDRCONFIG), (AF_INET6, AI_V4MAPPED), (AF_INET6, AI_V4MAPPED | AI_ALL),
)  # fmt: skip
"""The family and the flags of look-ups."""


def about(*names: str | bytes) -> list[Call]:
    """Every look-up of these names."""
    calls: list[Call] = []
    for name in names:
        calls += [("getaddrinfo", (name, 80, family, SOCK_STREAM, 0, int(flags))) for family, flags in HINTS]
        calls += [(function, (name,)) for function in ("gethostbyname", "gethostbyname_ex", "gethostbyaddr")]
        if name and isinstance(name, str):
            calls.append(("getfqdn", (name,)))
    return calls


def reverse(*addresses: str) -> list[Call]:
    """Every look-up of the names of these addresses."""
    flags = (0, socket.NI_NAMEREQD, socket.NI_NOFQDN, socket.NI_DGRAM, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    calls: list[Call] = [("getnameinfo", ((address, 53), each)) for address in addresses for each in flags]
    return [*calls, *(("gethostbyaddr", (address,)) for address in addresses)]


def services(*names: str) -> list[Call]:
    calls: list[Call] = [("getaddrinfo", ("127.0.0.1", name)) for name in names]
    calls += [("getservbyname", (name, *proto)) for name in names for proto in ((), ("tcp",), ("udp",))]
    calls += [("getservbyport", (port, *proto)) for port in (53, 4000, 4001) for proto in ((), ("tcp",), ("udp",))]
    return [*calls, *(("getprotobyname", (name,)) for name in ("tcp", "ours", "OURS", "nope"))]


INTERFACES: list[Call] = [
    *(("if_nametoindex", (name,)) for name in ("lo", b"lo", "va", "1", "lo\0x", 1, "a" * 40, "", None, "\ud800")),
    *(("if_indextoname", (index,)) for index in (1, 0, 1 << 31, 1 << 70, True)),
    # Python 3.14 has other errors for these, and the library keeps the older ones.
    *(("if_indextoname", (index,)) for index in ("1", -1, 1.5, None) if sys.version_info < (3, 14)),
    ("if_nameindex", ()),
]
ODD_ARGUMENTS: list[Call] = [
    *(("getaddrinfo", ("localhost", port)) for port in ("\ud800", 1.5, "", None, "http", b"https", -1, 1 << 33, "80x")),
    *(("getaddrinfo", (host, port)) for host, port in ((None, 80), (None, None), (5, 80), ("", 80), ("*", "*"))),
    ("getaddrinfo", (None, 0, 0, 0, 0, socket.AI_PASSIVE)),
    *(
        (function, (name,))
        for function in ("gethostbyname", "gethostbyname_ex", "gethostbyaddr")
        for name in (1, None, "a\0b", b"localhost", bytearray(b"www"))
    ),
    ("getnameinfo", (("localhost", 80), 0)),
    ("getnameinfo", (("::1", 80, 0, 2), 3)),
    ("getnameinfo", (("fe80::1", 80, 0, 1), 3)),
]


class Scene(NamedTuple):
    """Files and variables that differ from the usual ones, and the look-ups to try with them."""

    files: Mapping[str, str]
    variables: Mapping[str, str]
    calls: list[Call]
    without_ipv6: bool = False


def scene(calls: list[Call], variables: Mapping[str, str] | None = None, **files: str) -> Scene:
    """Make a scene. An underscore in the name of a file stands for a dot."""
    return Scene({name.replace("_", "."): text for name, text in files.items()}, variables or {}, calls)


SORTED = about("both.test", "near.test", "six-more.test", "mixed.test", "host")
SEARCHED = about("www", "four", "www.corp", "text", "nope", "dotted.name", "www.test.")

SCENES = {
    "names": scene(about(*NAMES)),
    "addresses": scene([*about(*ADDRESSES), *reverse(*ADDRESSES), *INTERFACES, *ODD_ARGUMENTS, ("getfqdn", ())]),
    "hosts before the built-in answers": scene(
        about("localhost", "app.localhost", "localhost.") + reverse("127.0.0.1", "127.0.0.5", "::1"),
        hosts="127.0.0.5 localhost\n10.73.0.2 app.localhost\n",
    ),
    "localhost of one family": scene(about("localhost", "LocalHost"), hosts="127.0.0.5 localhost\n"),
    "odd hosts": scene(
        about("www", "a", "b", "h\u00e9", "x.") + reverse("10.73.0.50", "127.0.0.1"),
        hosts="10.73.0.50\tA  b#c\n#10.73.0.51 b\n10.73.0.52\n10.73 b\n 10.73.0.53 b\n"
        "::1%lo b\n::1 b x.\n10.73.0.54 www www\r\n",
    ),
    "IPv4 first": scene(SORTED, gai_conf="precedence ::ffff:0:0/96 100\n"),
    "labels and scopes": scene(
        SORTED,
        gai_conf="label ::1/128 0\nlabel ::/0 1\nlabel 2001:db8::/32 6\n# label ::/0 9\nlabel fd73::/16 x\n"
        "scopev4 ::ffff:169.254.0.0/112 14\nscopev4 10.0.0.0/8 2\nscopev4 127.0.0.0/33 5\nprecedence ::/0 10\n"
        "precedence ::ffff:0:0/96 10\nprecedence fd73::/999 5\nlabel\nreload yes\n",
    ),
    "no IPv6": scene([*SORTED, *about("localhost", "www.test", "six.test", "127.0.0.1")])._replace(without_ipv6=True),
    "LOCALDOMAIN": scene(SEARCHED, {"LOCALDOMAIN": "corp.test  test"}, resolv_conf="nameserver 10.73.0.2\n"),
    "LOCALDOMAIN before search": scene(SEARCHED, {"LOCALDOMAIN": "corp.test\nx"}),
    "empty LOCALDOMAIN": scene(SEARCHED, {"LOCALDOMAIN": ""}),
    "RES_OPTIONS": scene(SEARCHED, {"RES_OPTIONS": "use-vc ndots:3 edns0x"}),
    "no-aaaa": scene(SEARCHED + SORTED, {"RES_OPTIONS": "no-aaaa no-tld-query"}),
    "odd search list": scene(SEARCHED, resolv_conf="nameserver 10.73.0.2\nsearch nope a..b test\noptions ndots:-1\n"),
    "root in the search list": scene(SEARCHED, resolv_conf="nameserver 10.73.0.2\nsearch . .test corp.test.\n"),
    "odd resolv.conf": scene(
        SEARCHED,
        resolv_conf="nameserver 10.73.0.9#53\n nameserver 10.73.0.9\nnameserver 10.73.0.2 x\ndomain corp.test x\n"
        ";search x\noptions rotated single-request-reopen ndots:99\n",
    ),
    "sortlist": scene(
        SORTED + about("big.test"),
        resolv_conf=RESOLV_CONF
        + "sortlist 198.51.100.0/255.255.255.0 10.73.0.0&255.255.0.0 10.1.0.32/255.255.255.224 x ; 1.1.1.1\n",
    ),
    "first line only": scene(about("host", "web", "localhost"), host_conf="multi off\n"),
    "no host.conf": scene(about("host", "localhost"), host_conf=""),
    "RESOLV_MULTI": scene(about("host", "localhost"), {"RESOLV_MULTI": "off"}),
    "host.conf": scene(
        [*SORTED, *reverse("10.0.0.1", "10.73.0.98", "10.73.0.97")],
        {"RESOLV_ADD_TRIM_DOMAINS": ".example"},
        host_conf="order hosts\n# x\nMULTI ON\nreorder on\ntrim .corp.test, .nope\n",
    ),
    "DNS before files": scene(about("www", "host", "web", "localhost", "nope"), nsswitch_conf="hosts: dns files\n"),
    "files alone": scene(about("www", "host", "six-only", "1.2.3.4.5"), nsswitch_conf="hosts:files\n"),
    "end after files": scene(about("www.test", "host"), nsswitch_conf="hosts: files [ NOTFOUND = return ] dns\n"),
    "continue after files": scene(
        about("www.test", "web"), nsswitch_conf="hosts: dns\nhosts: files [SUCCESS=continue !NOTFOUND=continue] dns\n"
    ),
    "sources by default": scene(about("www.test", "web"), nsswitch_conf="passwd: files\n"),
    "unknown source": scene(
        about("www.test", "web"), nsswitch_conf="hosts: nope [!UNAVAIL=return] files other [NOTFOUND=return] dns\n"
    ),
    "HOSTALIASES": scene(
        about("short", "other", "web", "none", "www"), {"HOSTALIASES": "{directory}/aliases"}, aliases=ALIASES
    ),
    "RESOLV_HOST_CONF": scene(
        about("host") + reverse("10.73.0.98"),
        {"RESOLV_HOST_CONF": "{directory}/other", "RESOLV_OVERRIDE_TRIM_DOMAINS": ".corp.test"},
        other="multi off\ntrim .x\n",
    ),
    "services": scene(
        services("ours", "theirs", "domain", "OURS"),
        services="ours 4000/tcp theirs # x\nours 4001/udp\n4002/tcp\nbad x/tcp\n",
        protocols="ours 99 OURS\ntcp x\n",
    ),
}
