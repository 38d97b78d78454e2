"""The program that refuses socket options by which packets could go elsewhere than their headers first say. Pure."""

from __future__ import annotations

from .assembly import R1, R2, R6, Assembly
from .fragments import Maps
from .joining import decide_joins, go_if_joins
from .local_copies import decide_copies, go_if_copies

# Source: struct bpf_sockopt.
_LEVEL, _NAME = 24, 28

# Source: include/uapi/linux/in.h, in6.h. The packets that come of them are dropped anyhow; this says so at once.
IPPROTO_IP, IPPROTO_IPV6 = 0, 41
REFUSED = {
    IPPROTO_IP: {3: "IP_HDRINCL", 4: "IP_OPTIONS"},
    IPPROTO_IPV6: {
        5: "IPV6_2292RTHDR",
        6: "IPV6_2292PKTOPTIONS",
        36: "IPV6_HDRINCL",
        54: "IPV6_HOPOPTS",
        55: "IPV6_RTHDRDSTOPTS",
        57: "IPV6_RTHDR",
        59: "IPV6_DSTOPTS",
    },
}


def check_option(code: Assembly, maps: Maps) -> None:
    """Refuse what is listed, groups outside the limits, and copies that nobody is asked about."""
    code.copy(R6, R1)
    code.load(R1, R6, _LEVEL)
    code.load(R2, R6, _NAME)
    for level, options in REFUSED.items():
        code.go_if(R1, "!=", level, f"not level {level}")
        for option in options:
            code.go_if(R2, "==", option, "deny")
        code.label(f"not level {level}")
    go_if_joins(code)
    go_if_copies(code)
    code.label("allow")
    code.give(1)
    decide_joins(code, maps)
    decide_copies(code)
    code.label("deny")
    code.give(0)
