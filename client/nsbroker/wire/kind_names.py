"""The words after "raw:" and "netlink:" in kinds of sockets. The policy and `nsbroker-get` share them."""

# Source: include/uapi/linux/netlink.h. Debian's kernels have these, and each answers for one network namespace.
NETLINK_PROTOCOLS = {"route": 0, "sock_diag": 4, "xfrm": 6, "netfilter": 12, "generic": 16}

# Source: IANA protocol numbers, with the names of /etc/protocols.
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
