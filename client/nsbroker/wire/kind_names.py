"""The names after "raw:" and "netlink:" in kinds of sockets: words that the policy and `nsbroker-get` share."""

# Source: include/uapi/linux/netlink.h. Those that answer for a network namespace, and that Debian's kernels have.
NETLINK_PROTOCOLS = {"route": 0, "sock_diag": 4, "xfrm": 6, "netfilter": 12, "generic": 16}

# Source: IANA protocol numbers; the names that /etc/protocols has for them.
RAW_PROTOCOLS = {
    "icmp": 1,
    "igmp": 2,
    "tcp": 6,
    "udp": 17,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "ospf": 89,
    "pim": 103,
    "vrrp": 112,
    "sctp": 132,
    "udplite": 136,
    "raw": 255,
}
