"""Each number of the kernel that the project writes down is the one of the kernel's own headers, for x86-64 and arm64.

gcc compares them, as the constants of C, with the headers of each machine. No program runs, so one machine can check
another one.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsbroker.place import options as place_options
from nsbroker.supervise.calls import OPTIONS_WITH_FLAGS
from nsbroker.supervise.filter import ADDRESS_SIZES, INTERFACE_REQUESTS, IO_URING_SETUP, MACHINES, X32_BIT
from nsbroker.wire.kind_names import NETLINK_PROTOCOLS, RAW_PROTOCOLS
from nsbrokerd.policy import options
from nsbrokerd.seal import bpf
from nsbrokerd.seal.programs import PROGRAMS
from nsbrokerd.seal.programs import options as sealed_options
from nsbrokerd.sockets import credentials
from nsbrokerd.sockets.capabilities import KEPT
from support.kernel_headers import HEADERS, Claim, compile_with

CONSTANTS = {
    "nsbroker.link.identity": "_SO_PROTOCOL _SO_DOMAIN",
    "nsbroker.link.own_containers": "_NS_GET_USERNS _NS_GET_OWNER_UID",
    "nsbroker.link.proof": "SO_COOKIE _SO_NETNS_COOKIE",
    "nsbroker.names.interfaces": (
        "_SIOCGIFNAME _SIOCGIFCONF _SIOCGIFDSTADDR _SIOCGIFNETMASK _SIOCGIFINDEX _IFNAMSIZ _IFREQ_BYTES:ifreq"
        " _RTM_NEWLINK _RTM_GETLINK _NLMSG_ERROR _NLMSG_DONE _NLM_F_REQUEST _NLM_F_DUMP _IFLA_IFNAME"
        " _HEADER:nlmsghdr _LINK:ifinfomsg _ATTRIBUTE:nlattr"
    ),
    "nsbroker.names.numeric": "_SIOCGIFINDEX _IFNAMSIZ",
    "nsbroker.proxy.peers": "_NETLINK_SOCK_DIAG _SOCK_DIAG_BY_FAMILY _NLM_F_REQUEST _NLMSG_ERROR",
    "nsbroker.supervise.bpf": (
        "_LOAD_WORD=BPF_LD|BPF_W|BPF_ABS _JUMP_EQUAL=BPF_JMP|BPF_JEQ|BPF_K"
        " _JUMP_GREATER_EQUAL=BPF_JMP|BPF_JGE|BPF_K _RETURN=BPF_RET|BPF_K"
    ),
    "nsbroker.supervise.calls": "_IPPROTO_MAX=IPPROTO_MAX-1",
    "nsbroker.supervise.filter": (
        "ALLOW=SECCOMP_RET_ALLOW NOTIFY=SECCOMP_RET_USER_NOTIF ERRNO=SECCOMP_RET_ERRNO"
        " NR_OFFSET:seccomp_data.nr ARCH_OFFSET:seccomp_data.arch FIRST_ARGUMENT_OFFSET:seccomp_data.args[0]"
        " SECOND_ARGUMENT_OFFSET:seccomp_data.args[1] THIRD_ARGUMENT_OFFSET:seccomp_data.args[2]"
        " IO_URING_SETUP=__NR_io_uring_setup SOCKETCALL_SOCKET=SYS_SOCKET SIOCOUTQNSD TUNSETIFF"
    ),
    "nsbroker.supervise.kernel": (
        "CLONE_NEWNS CLONE_NEWUSER MS_NOSUID MS_NODEV MS_NOEXEC MS_BIND MS_REC MS_SLAVE _PR_SET_NO_NEW_PRIVS"
        " _SECCOMP_SET_MODE_FILTER _NEW_LISTENER=SECCOMP_FILTER_FLAG_NEW_LISTENER"
        " _WAIT_KILLABLE_RECV=SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV _SOCK_FILTER_BYTES:sock_filter"
        " _NOTIF:seccomp_notif _RESPONSE:seccomp_notif_resp _ADDFD:seccomp_notif_addfd"
        " _RECV=SECCOMP_IOCTL_NOTIF_RECV _SEND=SECCOMP_IOCTL_NOTIF_SEND _ID_VALID=SECCOMP_IOCTL_NOTIF_ID_VALID"
        " _ADD_FD=SECCOMP_IOCTL_NOTIF_ADDFD _CONTINUE=SECCOMP_USER_NOTIF_FLAG_CONTINUE"
        " _ADDFD_SETFD=SECCOMP_ADDFD_FLAG_SETFD _PIDFD_GETFD=__NR_pidfd_getfd"
    ),
    "nsbroker.supervise.low_ports": "_SO_NETNS_COOKIE",
    "nsbroker.wire.addresses": "_IPPROTO_SCTP",
    "nsbroker.wire.kind_names": "_IPPROTO_ICMPV6 _IPPROTO_UDPLITE _IPPROTO_MPTCP",
    "nsbroker.adapters.scapy": "_PACKET_ADD_MEMBERSHIP _PACKET_MR_PROMISC",
    "nsbrokerd.clients.peer": "_SO_PEERCRED _SO_PEERGROUPS",
    "nsbrokerd.clients.porter": "_SO_SNDBUFFORCE",
    "nsbrokerd.clients.porter_process": (
        "_NS_GET_NSTYPE _CLONE_NEWNET _PR_SET_DUMPABLE _PR_SET_NAME _PR_SET_NO_NEW_PRIVS"
        " _VERSION_3=_LINUX_CAPABILITY_VERSION_3"
    ),
    "nsbrokerd.namespaces.engines.network_key": "_NS_GET_NSTYPE _CLONE_NEWNET",
    "nsbrokerd.namespaces.file_identity": (
        "_AT_EMPTY_PATH _AT_STATX_DONT_SYNC _STATX_BYTES:statx _STATX_INO_AT:statx.stx_ino"
        " _STATX_DEV_AT:statx.stx_dev_major"
    ),
    "nsbrokerd.namespaces.netns": "_CLONE_NEWNET _NS_GET_ID _SIOCGSKNS _SOL_SOCKET _SO_NETNS_COOKIE",
    "nsbrokerd.namespaces.sent_descriptors": "_NS_GET_USERNS _NS_GET_OWNER_UID",
    "nsbrokerd.policy.options": (
        "SOL_SOCKET IPPROTO_IP IPPROTO_TCP IPPROTO_IPV6 IPPROTO_SCTP SO_MARK SO_BINDTODEVICE IP_TRANSPARENT"
        " IPV6_TRANSPARENT _MAX_INTERFACE_BYTES=IFNAMSIZ-1"
    ),
    "nsbrokerd.seal.aborting": "_SO_BINDTOIFINDEX _IPV4_BYTES:iphdr",
    "nsbrokerd.seal.bpf": (
        "_MAP_CREATE=BPF_MAP_CREATE _MAP_LOOKUP=BPF_MAP_LOOKUP_ELEM MAP_UPDATE=BPF_MAP_UPDATE_ELEM"
        " _MAP_DELETE=BPF_MAP_DELETE_ELEM _MAP_NEXT_KEY=BPF_MAP_GET_NEXT_KEY _PROG_LOAD=BPF_PROG_LOAD _PIN=BPF_OBJ_PIN"
        " _GET=BPF_OBJ_GET _ATTACH=BPF_PROG_ATTACH _INFO=BPF_OBJ_GET_INFO_BY_FD"
        " _RAW_TRACEPOINT_OPEN=BPF_RAW_TRACEPOINT_OPEN _BTF_LOAD=BPF_BTF_LOAD _LINK_CREATE=BPF_LINK_CREATE"
        " _ITER_CREATE=BPF_ITER_CREATE _ALLOW_MULTI=BPF_F_ALLOW_MULTI HASH=BPF_MAP_TYPE_HASH ARRAY=BPF_MAP_TYPE_ARRAY"
        " PROG_ARRAY=BPF_MAP_TYPE_PROG_ARRAY ARRAY_OF_MAPS=BPF_MAP_TYPE_ARRAY_OF_MAPS"
        " SK_STORAGE=BPF_MAP_TYPE_SK_STORAGE NO_PREALLOC=BPF_F_NO_PREALLOC CLONE=BPF_F_CLONE NO_EXIST=BPF_NOEXIST"
    ),
    "nsbrokerd.seal.btf": "_TYPE:btf_type",
    "nsbrokerd.seal.running": "_SOL_IP=IPPROTO_IP _IP_OPTIONS",
    "nsbrokerd.seal.live": "_TRACING=BPF_PROG_TYPE_TRACING _TRACE_ITER=BPF_TRACE_ITER",
    "nsbrokerd.seal.maps": "_BPF_FS_MAGIC _NOSUID_NODEV_NOEXEC=MS_NOSUID|MS_NODEV|MS_NOEXEC",
    "nsbrokerd.seal.needed": "_LISTEN=BPF_TCP_LISTEN",
    "nsbrokerd.seal.own_group": (
        "_OPEN_TREE=__NR_open_tree _FSOPEN=__NR_fsopen _FSCONFIG=__NR_fsconfig _FSMOUNT=__NR_fsmount"
        " _MOUNT_SETATTR=__NR_mount_setattr _AT_FDCWD _AT_EMPTY_PATH _OPEN_TREE_CLONE=OPEN_TREE_CLONE _FSOPEN_CLOEXEC"
        " _FSMOUNT_CLOEXEC _FSCONFIG_CMD_CREATE _RDONLY=MOUNT_ATTR_RDONLY"
        " _NOSUID_NODEV_NOEXEC=MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV|MOUNT_ATTR_NOEXEC"
    ),
    "nsbrokerd.seal.programs": (
        "_CGROUP_SKB=BPF_PROG_TYPE_CGROUP_SKB _SOCK_ADDR=BPF_PROG_TYPE_CGROUP_SOCK_ADDR"
        " _SOCKOPT=BPF_PROG_TYPE_CGROUP_SOCKOPT _TAIL_CALL=BPF_FUNC_tail_call"
    ),
    "nsbrokerd.seal.programs.addresses": (
        "_USER_IP4:bpf_sock_addr.user_ip4 _USER_IP6:bpf_sock_addr.user_ip6 _USER_PORT:bpf_sock_addr.user_port"
        " _SOURCE_IP4:bpf_sock_addr.msg_src_ip4 _SOURCE_IP6:bpf_sock_addr.msg_src_ip6 _SOCK:bpf_sock_addr.sk"
    ),
    "nsbrokerd.seal.programs.assembly": (
        "_LOAD_MEMORY=BPF_LDX|BPF_MEM _STORE_IMMEDIATE=BPF_ST|BPF_MEM _STORE_REGISTER=BPF_STX|BPF_MEM"
        " _ATOMIC=BPF_STX|BPF_ATOMIC _ATOMIC_OR=BPF_OR _ATOMIC_AND=BPF_AND"
        " _ATOMIC_REPLACE=BPF_CMPXCHG _LOAD_IMMEDIATE_64=BPF_LD|BPF_IMM|BPF_DW"
        " _PSEUDO_MAP_FD=BPF_PSEUDO_MAP_FD _CALL=BPF_JMP|BPF_CALL _EXIT=BPF_JMP|BPF_EXIT _GOTO=BPF_JMP|BPF_JA"
        " _FROM_REGISTER=BPF_X _TO_BIG_ENDIAN=BPF_ALU|BPF_END|BPF_TO_BE"
    ),
    "nsbrokerd.seal.programs.calls": (
        "_CURRENT_TASK=BPF_FUNC_get_current_task_btf _SOCK_FROM_FILE=BPF_FUNC_sock_from_file"
        " _TASK_REGISTERS=BPF_FUNC_task_pt_regs _SCTP_UDP_PORT=SCTP_REMOTE_UDP_ENCAPS_PORT"
        " _SCTP_AUTH_CHUNK=SCTP_AUTH_CHUNK _SO_ATTACH_FILTER _SO_ATTACH_BPF _IP_FREEBIND _IPV6_FREEBIND"
        " _URING_SETSOCKOPT=SOCKET_URING_OP_SETSOCKOPT"
    ),
    "nsbrokerd.seal.programs.associations": ("_LISTEN=BPF_TCP_LISTEN _ADDRESS_BYTES:sockaddr_in6"),
    "nsbrokerd.seal.programs.code": (
        "_MAP_LOOKUP=BPF_FUNC_map_lookup_elem _SK_STORAGE_GET=BPF_FUNC_sk_storage_get"
        " _TO_MPTCP_SOCK=BPF_FUNC_skc_to_mptcp_sock _CREATE=BPF_SK_STORAGE_GET_F_CREATE SOCK_TYPE:bpf_sock.type"
        " SOCK_PROTOCOL:bpf_sock.protocol SOCK_SOURCE_4:bpf_sock.src_ip4 SOCK_SOURCE_6:bpf_sock.src_ip6"
        " SOCK_SOURCE_PORT:bpf_sock.src_port"
    ),
    "nsbrokerd.seal.programs.hook": (
        "PROBE_READ_KERNEL=BPF_FUNC_probe_read_kernel _PORT_AT:sockaddr_in.sin_port IPV4_AT:sockaddr_in.sin_addr"
        " IPV6_AT:sockaddr_in6.sin6_addr"
    ),
    "nsbrokerd.seal.programs.iterator": ("_SOCKET_COOKIE=BPF_FUNC_get_socket_cookie _SEQ_WRITE=BPF_FUNC_seq_write"),
    "nsbrokerd.seal.programs.options": (
        "_SOCK:bpf_sockopt.sk _VALUE:bpf_sockopt.optval _VALUE_END:bpf_sockopt.optval_end _LEVEL:bpf_sockopt.level"
        " _NAME:bpf_sockopt.optname _LENGTH:bpf_sockopt.optlen _IPV6_2292RTHDR _IPV6_2292PKTOPTIONS _IPV6_HDRINCL"
        " _FAMILY:group_req.gr_group UDPLITE=IPPROTO_UDPLITE"
    ),
    "nsbrokerd.seal.programs.packets": (
        "_LENGTH:__sk_buff.len _PROTOCOL:__sk_buff.protocol _DATA:__sk_buff.data _DATA_END:__sk_buff.data_end"
        " _SOCK:__sk_buff.sk _SK_FULLSOCK=BPF_FUNC_sk_fullsock _UDPLITE=IPPROTO_UDPLITE _IPV4_BYTES:iphdr"
        " _IPV4_FRAGMENT:iphdr.frag_off _IPV4_PROTOCOL:iphdr.protocol"
        " _IPV4_DESTINATION:iphdr.daddr _IPV6_BYTES:ipv6hdr _IPV6_NEXT:ipv6hdr.nexthdr _IPV6_DESTINATION:ipv6hdr.daddr"
    ),
    "nsbrokerd.seal.programs.sctp": (
        "_SEND_SIGNAL=BPF_FUNC_send_signal _SIGKILL=SIGKILL _SET_PEER_PRIMARY=SCTP_SET_PEER_PRIMARY_ADDR"
        " _PRIMARY=SCTP_PRIMARY_ADDR _BINDX_ADD=SCTP_SOCKOPT_BINDX_ADD _CONNECTX=SCTP_SOCKOPT_CONNECTX"
        " _SENDMSG_CONNECT=SCTP_SENDMSG_CONNECT _PEELOFF=SCTP_SOCKOPT_PEELOFF"
        " _PEELOFF_FLAGS=SCTP_SOCKOPT_PEELOFF_FLAGS _CONNECTED=BPF_TCP_ESTABLISHED"
    ),
    "nsbrokerd.seal.programs.sweep": (
        "_SOCKET_COOKIE=BPF_FUNC_get_socket_cookie _CLOSE=BPF_TCP_CLOSE _LISTEN=BPF_TCP_LISTEN"
    ),
    "nsbrokerd.seal.wall": "_LSM=BPF_PROG_TYPE_LSM _LSM_MAC=BPF_LSM_MAC",
    "nsbrokerd.sockets.capabilities": (
        "DAC_OVERRIDE=CAP_DAC_OVERRIDE _VERSION_3=_LINUX_CAPABILITY_VERSION_3 _PR_CAPBSET_READ _PR_CAPBSET_DROP"
        " _PR_SET_NO_NEW_PRIVS _PR_CAP_AMBIENT _PR_CAP_AMBIENT_CLEAR_ALL"
    ),
    "nsbrokerd.sockets.ending": "_TCP_CLOSE=BPF_TCP_CLOSE",
    "nsbrokerd.sockets.listing": (
        "_DUMP=NLM_F_DUMP _BY_FAMILY=SOCK_DIAG_BY_FAMILY _INET_REQUEST:inet_diag_req_v2"
        " _INET_DIAG_REQ_PROTOCOL=INET_DIAG_REQ_PROTOCOL _ALL_PROTOCOLS=NDIAG_PROTO_ALL _UNIX_REQUEST:unix_diag_req"
        " _OTHER_REQUEST:netlink_diag_req _INET_MESSAGE:inet_diag_msg _UNIX_MESSAGE:unix_diag_msg"
    ),
    "nsbrokerd.sockets.batch": "_SO_COOKIE",
    "nsbrokerd.sockets.set_up": "_IPPROTO_SCTP _SCTP_SOCKOPT_BINDX_ADD _SOCKADDR_LL:sockaddr_ll",
    "nsbrokerd.sockets.sock_diag": (
        "_NETLINK_SOCK_DIAG _SOCK_DIAG_BY_FAMILY _SOCK_DESTROY _NLM_F_REQUEST _NLM_F_ACK _NLM_F_DUMP _NLMSG_ERROR"
        " _NLMSG_DONE _HEADER:nlmsghdr _REQUEST:inet_diag_req_v2 _SOCKID_AT:inet_diag_msg.id"
        " _SOCKID_BYTES:inet_diag_sockid _COOKIE_AT:inet_diag_sockid.idiag_cookie"
    ),
}
"""For each module its constants: NAME (the header's name, perhaps behind an underscore), NAME=EXPRESSION of C,
NAME:STRUCT (its size), or NAME:STRUCT.MEMBER (its offset)."""
NOT_IN_HEADERS = {
    "nsbroker.adapters.scapy": {"_SOL_PACKET"},  # include/linux/socket.h, which the kernel keeps to itself
    "nsbrokerd.clients.client": {"_PACKET_OVERHEAD_BYTES"},  # a measured one
    "nsbrokerd.seal.programs.hook": {"_IPV6_BYTES"},  # SIN6_LEN_RFC2133 of include/net/ipv6.h
}
"""Constants whose names look like those of the headers, but that no header for programs has."""
GLIBC = {"IPV6_JOIN_GROUP": "IPV6_ADD_MEMBERSHIP"}
"""What glibc calls otherwise than the kernel."""
HOOKS = {
    "connect4": "BPF_CGROUP_INET4_CONNECT",
    "connect6": "BPF_CGROUP_INET6_CONNECT",
    "bind4": "BPF_CGROUP_INET4_BIND",
    "bind6": "BPF_CGROUP_INET6_BIND",
    "send4": "BPF_CGROUP_UDP4_SENDMSG",
    "send6": "BPF_CGROUP_UDP6_SENDMSG",
    "setsockopt": "BPF_CGROUP_SETSOCKOPT",
    "egress": "BPF_CGROUP_INET_EGRESS",
    "ingress": "BPF_CGROUP_INET_INGRESS",
}


FOREIGN = {"x86_64": "i686", "aarch64": "armv7l"}
"""The second instruction set of each machine of `run`."""
AUDIT = {"x86_64": "X86_64", "i686": "I386", "aarch64": "AARCH64", "armv7l": "ARM"}


def claims_of_constants() -> Iterator[Claim]:
    for name, constants in CONSTANTS.items():
        module = importlib.import_module(name)
        for constant in constants.split():
            own, kind, expression = re.fullmatch("(\\w+)(?:([=:])(.*))?", constant).groups()
            if kind == ":":
                struct_name, _, member = expression.partition(".")
                whole = f"struct {struct_name}"
                expression = f"__builtin_offsetof({whole}, {member})" if member else f"sizeof({whole})"
            value = getattr(module, own)
            size = value.size if isinstance(value, struct.Struct) else value
            yield Claim(expression or own.lstrip("_"), size, f"{name}.{own}")


def claims_of_tables() -> Iterator[Claim]:
    for names in options._ORDINARY.values():
        yield from named("options", names)
    joins = (sealed_options._JOINS_4, sealed_options._JOINS_6, sealed_options._JOINS_BY_REQUEST)
    yield from named(
        "seal options", {GLIBC.get(name, name): number for table in joins for number, name in table.items()}
    )
    yield from named("privileged options", {words: name for (_, name), (words, _) in OPTIONS_WITH_FLAGS.items()})
    pairs = (*place_options._TRANSPARENT, *place_options._FREEBIND)
    names = ("IP_TRANSPARENT", "IPV6_TRANSPARENT", "IP_FREEBIND", "IPV6_FREEBIND")
    yield from named("options at birth", {name: pair[1] for name, pair in zip(names, pairs, strict=True)})
    yield from named("options at birth", {"SO_MARK": place_options._MARK[1]})
    yield from named("capabilities", KEPT)
    yield from named("netlink", {f"NETLINK_{name.upper()}": number for name, number in NETLINK_PROTOCOLS.items()})
    raw = {f"IPPROTO_{name.upper()}": number for name, number in RAW_PROTOCOLS.items() if name not in ("ospf", "vrrp")}
    yield from named("raw protocols", raw)
    yield from named("programs", {HOOKS[one.name]: one.attach_type for one in PROGRAMS})
    routes, private, wireless = INTERFACE_REQUESTS
    yield Claim("SIOCADDRT", routes.start, "INTERFACE_REQUESTS")
    yield Claim("SIOCPROTOPRIVATE", routes.stop, "INTERFACE_REQUESTS")
    yield Claim("SIOCDEVPRIVATE", private.start, "INTERFACE_REQUESTS")
    yield Claim("SIOCDEVPRIVATE + 16", private.stop, "INTERFACE_REQUESTS")
    yield Claim("SIOCIWFIRST", wireless.start, "INTERFACE_REQUESTS")
    yield Claim("SIOCIWLAST + 1", wireless.stop, "INTERFACE_REQUESTS")
    for name, size in zip(("sockaddr_in", "sockaddr_in6", "__kernel_sockaddr_storage"), ADDRESS_SIZES, strict=True):
        yield Claim(f"sizeof(struct {name})", size, "ADDRESS_SIZES")


def named(place: str, numbers: dict[str, int]) -> Iterator[Claim]:
    return (Claim(name, number, place) for name, number in numbers.items())


def claims_of_calls(machine: str) -> Iterator[Claim]:
    """The numbers of system calls, which differ most between machines."""
    if machine in credentials._SYS_SETRESUID:
        wide = "32" if machine in ("i686", "armv7l") else ""
        yield Claim(f"__NR_setresuid{wide}", credentials._SYS_SETRESUID[machine], "credentials._SYS_SETRESUID")
    if machine in bpf._NUMBERS:
        yield Claim("__NR_bpf", bpf._NUMBERS[machine], "bpf._NUMBERS")
    yield Claim(f"{'__X32_SYSCALL_BIT + ' * (machine == 'x32')}0", X32_BIT * (machine == "x32"), "X32_BIT")
    for native, numbers in MACHINES.items():
        if machine == native:
            for name in ("seccomp", "socket", "ioctl", "setsockopt", "bind"):
                yield Claim(f"__NR_{name}", getattr(numbers, name), f"MACHINES[{native}]")
            yield Claim("__NR_io_uring_setup", IO_URING_SETUP, "IO_URING_SETUP")
            yield Claim(f"AUDIT_ARCH_{AUDIT[machine]}", numbers.audit, f"MACHINES[{native}]")
        if machine == FOREIGN[native]:
            yield Claim("__NR_socket", numbers.foreign_socket, f"MACHINES[{native}]")
            yield Claim("__NR_ioctl", numbers.foreign_ioctl, f"MACHINES[{native}]")
            yield Claim("__NR_io_uring_setup", IO_URING_SETUP, "IO_URING_SETUP")
            yield Claim(f"AUDIT_ARCH_{AUDIT[machine]}", numbers.foreign_audit, f"MACHINES[{native}]")
            if numbers.foreign_socketcall >= 0:
                yield Claim("__NR_socketcall", numbers.foreign_socketcall, f"MACHINES[{native}]")
        if machine == "x32" and numbers.x32_ioctl >= 0:
            yield Claim("__NR_socket", X32_BIT | numbers.socket, f"MACHINES[{native}]")
            yield Claim("__NR_ioctl", X32_BIT | numbers.x32_ioctl, f"MACHINES[{native}]")
            yield Claim("__NR_io_uring_setup", X32_BIT | IO_URING_SETUP, "IO_URING_SETUP")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_constants_and_tables_are_those_of_the_headers(machine: str, tmp_path: Path) -> None:
    claims = [*claims_of_constants(), *claims_of_tables()]
    assert compile_with(machine, [claim.as_c() for claim in claims], tmp_path) == []


@pytest.mark.parametrize("machine", HEADERS)
def test_system_calls_are_those_of_the_headers(machine: str, tmp_path: Path) -> None:
    """Also of the second instruction set that each kernel runs."""
    lines = [claim.as_c() for claim in claims_of_calls(machine)]
    for native, foreign in FOREIGN.items():
        if machine == foreign and MACHINES[native].foreign_socketcall < 0:
            lines += ["#ifdef __NR_socketcall", "#error there is a socketcall(2)", "#endif"]
    assert len(lines) >= 4
    assert compile_with(machine, lines, tmp_path) == []


@pytest.mark.parametrize("machine", HEADERS)
def test_wrong_number_is_found(machine: str, tmp_path: Path) -> None:
    """Headers of another machine, or no headers at all, would not make the other tests pass."""
    wrong = [claim._replace(value=claim.value + 1).as_c() for claim in claims_of_calls(machine)]
    errors = compile_with(machine, wrong, tmp_path)
    assert sum("static assertion failed" in error for error in errors) == len(errors) == len(wrong)


LIKE_THE_KERNELS = re.compile(
    "_?(SO|SOL|IP|IPV6|IPPROTO|TCP|SCTP|MCAST|NS_GET|CLONE|MS|PR|AT|NLM|NLMSG|NETLINK|RTM|IFLA|BPF|PACKET|SECCOMP|SYS)"
    "_[A-Z0-9_]+|_?SIOC[A-Z]+|_?TUN[A-Z]+"
)


def modules() -> Iterator[tuple[str, str]]:
    for package in ("nsbroker", "nsbrokerd"):
        root = Path(importlib.util.find_spec(package).submodule_search_locations[0])
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root.parent).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path.read_text()


def test_no_constant_is_forgotten() -> None:
    """A constant at the top of a module whose name looks like the kernel's is compared with its headers."""
    forgotten = []
    for name, text in modules():
        listed = {re.match("\\w+", constant)[0] for constant in CONSTANTS.get(name, "").split()}
        for constant in constants_of(text) - listed - NOT_IN_HEADERS.get(name, set()):
            forgotten.append(f"{name}.{constant}")
    assert forgotten == []


def constants_of(text: str) -> set[str]:
    """The names of this kind that a module sets to a number that it writes down."""
    found = set()
    for statement in ast.parse(text).body:
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            pairs = [(target, statement.value)]
            if isinstance(target, ast.Tuple):
                values = statement.value.elts if isinstance(statement.value, ast.Tuple) else [statement.value] * 99
                pairs = list(zip(target.elts, values, strict=False))
            for name, value in pairs:
                if isinstance(name, ast.Name) and LIKE_THE_KERNELS.fullmatch(name.id) and is_number(value):
                    found.add(name.id)
    return found


def is_number(value: ast.expr) -> bool:
    nodes = list(ast.walk(value))
    return any(isinstance(node, ast.Constant) and isinstance(node.value, int) for node in nodes) and not any(
        isinstance(node, ast.Name | ast.Dict) for node in nodes
    )
