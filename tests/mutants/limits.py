"""Limits that travel with the socket: what is refused when they are loaded, and what the seal enforces."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

GUARANTEES = (
    Guarantee(
        "limit-directions",
        (
            Mutant(
                "broker/nsbrokerd/policy/limit.py",
                "        if self.connect is None:\n            return True\n        rules = self.connect\n",
                "        rules = self.connect or ()\n        if not rules:\n            return True\n",
                ("tests/unit/broker/policy/test_limit.py::test_absent_is_anywhere_and_empty_is_nowhere",),
            ),
        ),
    ),
    Guarantee(
        "limit-kinds",
        (
            Mutant(
                "broker/nsbrokerd/policy/limit.py",
                'return "the seal does not know this kind"',
                "return None",
                ("tests/unit/broker/policy/test_limit.py::test_kind_that_is_new_can_not_be_limited",),
            ),
            Mutant(
                "broker/nsbrokerd/config/grants.py",
                "        if reason is not None:\n            table.complain(key, f",
                "        if reason is not None and kind != 'packet':\n            table.complain(key, f",
                ("tests/unit/broker/config/test_limit.py::test_what_means_nothing_or_can_not_be_held_is_refused",),
            ),
            Mutant(
                "broker/nsbrokerd/config/grants.py",
                "if reason is None and has_bind:",
                "if reason is None and not has_bind:",
                ("tests/unit/broker/config/test_limit.py::test_what_means_nothing_or_can_not_be_held_is_refused",),
            ),
        ),
    ),
    Guarantee(
        "limit-needs-the-seal",
        (
            Mutant(
                "broker/nsbrokerd/config/grants.py",
                '    if reason is not None:\n        table.complain("limit", f"this host',
                '    if reason == "":\n        table.complain("limit", f"this host',
                (
                    "tests/unit/broker/config/test_limit.py::test_host_that_can_not_enforce_limits_refuses_them_with_its_reason",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/config/grants.py",
                "if rules is not None and len(rules) > MAX_RULES:",
                "if rules is not None and len(rules) > 2 * MAX_RULES:",
                (
                    "tests/unit/broker/config/test_limit.py::test_more_addresses_than_the_kernel_has_room_for_are_refused",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/opener.py",
                "if _has_limits(groups):",
                "if _has_limits(groups) and self._seal is not None:",
                (
                    "tests/unit/broker/sockets/test_opener.py::test_limited_socket_is_never_made_where_nothing_enforces_limits",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/opener.py",
                "return planned.is_plain and planned.grant.limit is None and",
                "return planned.is_plain and",
                ("tests/kernel/broker/seal/test_reload.py",),
            ),
        ),
    ),
    Guarantee(
        "limit-name-servers",
        (
            Mutant(
                "broker/nsbrokerd/config/grants.py",
                "connect += _missing_servers(connect, host.name_servers(namespaces))",
                "connect += _missing_servers(connect, ())",
                (
                    "tests/unit/broker/config/test_limit.py::test_name_servers_of_the_namespaces_are_added_where_something_is_reachable",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/config/grants.py",
                "    if connect:\n",
                "    if connect is not None:\n",
                (
                    "tests/unit/broker/config/test_limit.py::test_name_servers_of_the_namespaces_are_added_where_something_is_reachable",
                ),
            ),
        ),
    ),
    Guarantee(
        "limit-connect",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/__init__.py",
                'Program("connect4", _SOCK_ADDR, 10, partial(check_connect, version=IPV4)),',
                'Program("connect4", _SOCK_ADDR, 10, lambda code: code.end(1)),',
                ("tests/kernel/broker/seal/test_ways_out.py::test_tcp_connects_nowhere_else",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/__init__.py",
                'Program("connect6", _SOCK_ADDR, 11, partial(check_connect, version=IPV6)),',
                'Program("connect6", _SOCK_ADDR, 11, lambda code: code.end(1)),',
                ("tests/kernel/broker/seal/test_ways_out.py::test_tcp_connects_nowhere_else",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/addresses.py",
                "    if version == layout.IPV4:\n        code.load(R1, R6, offset_4)\n        code.put_ipv4(R1)\n",
                "    if version == layout.IPV4:\n"
                "        code.load(R1, R6, 0)\n"
                '        code.go_if(R1, "!=", 2, "allow")\n'
                "        code.load(R1, R6, offset_4)\n"
                "        code.put_ipv4(R1)\n",
                ("tests/kernel/broker/seal/test_ways_out.py::test_family_that_the_user_writes_does_not_count",),
            ),
        ),
    ),
    Guarantee(
        "limit-bind",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/__init__.py",
                'Program("bind4", _SOCK_ADDR, 8, partial(check_bind, version=IPV4)),',
                'Program("bind4", _SOCK_ADDR, 8, lambda code: code.end(3)),',
                ("tests/kernel/broker/seal/test_allows.py::test_client_binds_what_is_listed_and_nothing_else",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/addresses.py",
                "_ALLOW_LOW_PORT = 3",
                "_ALLOW_LOW_PORT = 1",
                ("tests/kernel/broker/seal/test_allows.py::test_client_binds_what_is_listed_and_nothing_else",),
            ),
        ),
    ),
    Guarantee(
        "limit-datagrams",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/__init__.py",
                'Program("send4", _SOCK_ADDR, 14, partial(check_send, version=IPV4)),',
                'Program("send4", _SOCK_ADDR, 14, lambda code: code.end(1)),',
                ("tests/kernel/broker/seal/test_ways_out.py::test_datagrams_go_nowhere_else",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/addresses.py",
                '    code.go_if_covered(BIND, "to where")\n    code.go("deny")\n',
                '    code.go("to where")\n',
                ("tests/kernel/broker/seal/test_allows.py::test_source_address_is_one_to_bind",),
            ),
        ),
    ),
    Guarantee(
        "limit-packets",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/packets.py",
                '    code.label("decide")\n    code.go_if_covered(CONNECT, "allow")\n    code.end_with_verdict()\n',
                '    code.label("decide")\n    code.go_if(R9, ">=", 0, "allow")\n    code.end_with_verdict()\n',
                (
                    "tests/kernel/broker/seal/test_detours.py::test_portless_ipv4_goes_nowhere_else",
                    "tests/kernel/broker/seal/test_detours.py::test_portless_ipv6_goes_nowhere_else",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/packets.py",
                "    code.store_number(STACK, LAST_PORT, ALL_PORTS[1])\n",
                "    code.store_number(STACK, LAST_PORT, 0)\n    code.set(R9, ALL_PORTS[1])\n",
                ("tests/kernel/broker/seal/test_random_rules.py::test_kernel_lets_packets_out_as_the_policy_does",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/limit.py",
                "        if port is None:\n",
                "        if port == -1:\n",
                ("tests/unit/broker/policy/test_limit.py::test_what_has_no_port_needs_a_rule_for_all_ports",),
            ),
        ),
    ),
    Guarantee(
        "limit-headers",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/packets.py",
                'code.go_if(R1, "!=", _PLAIN_IPV4, "deny")',
                'code.go_if(R1, "==", 0, "deny")',
                ("tests/kernel/broker/seal/test_detours.py::test_no_packet_has_a_source_route",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/packets.py",
                'code.go_if(R1, "!=", _HOP_BY_HOP, "deny")',
                'code.go_if(R1, "!=", _HOP_BY_HOP, "plain")',
                ("tests/kernel/broker/seal/test_detours.py::test_no_packet_has_an_extension_header",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/options.py",
                '            code.go_if(R2, "==", option, "deny")\n',
                '            code.go_if(R2, "==", option, "deny" if option == 4 else "allow")\n',
                (
                    "tests/kernel/broker/seal/test_detours.py::test_option_by_which_packets_go_elsewhere_is_refused_at_once",
                ),
            ),
        ),
    ),
    Guarantee(
        "limit-groups",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/options.py",
                '    code.go_if_covered(CONNECT, "allow")\n    code.go("deny")\n',
                '    code.go("allow")\n',
                (
                    "tests/kernel/broker/seal/test_multicast_groups.py::test_group_is_joined_only_where_it_may_be_sent_to",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/options.py",
                'code.go_if(R4, "==", family, "deny")',
                'code.go_if(R4, "==", 0xFFFF, "deny")',
                ("tests/kernel/broker/seal/test_multicast_groups.py::test_group_can_not_be_hidden",),
            ),
        ),
    ),
    Guarantee(
        "limit-local-copies",
        (
            Mutant(
                "broker/nsbrokerd/seal/running.py",
                "            _turn_off_copies(sock)\n",
                "            bool(sock)\n",
                (
                    "tests/kernel/broker/seal/test_local_copies.py::test_forbidden_group_or_broadcast_is_not_heard_nearby",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/seal/running.py",
                "        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)\n",
                "        pass\n",
                ("tests/kernel/broker/seal/test_local_copies.py::test_udplite_is_not_heard_nearby",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/options.py",
                '    code.go_if(R1, "==", UDPLITE, "copies of packets")\n',
                '    code.go_if(R1, "==", UDPLITE, "allow")\n',
                ("tests/kernel/broker/seal/test_local_copies.py::test_copies_of_udplite_can_be_turned_off_but_not_on",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/options.py",
                '    code.go_if(R1, "==", 0, "allow")\n    code.go("deny")\n',
                '    code.go("allow")\n',
                ("tests/kernel/broker/seal/test_local_copies.py::test_copies_can_be_turned_off_but_not_on",),
            ),
        ),
    ),
    Guarantee(
        "limit-special-addresses",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/code.py",
                "        self.store_number(STACK, _FAMILY, layout.UNSPECIFIED)\n",
                "        self.add(R1, 0)\n",
                ("tests/kernel/broker/seal/test_allows.py::test_zeros_are_no_way_to_the_own_host",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/code.py",
                '        self.go_if_register(R1, "!=", R2, f"{prefix}.is put")\n',
                '        self.go_if_register(R1, "==", R2, f"{prefix}.is put")\n',
                ("tests/kernel/broker/seal/test_allows.py::test_allowed_address_is_connected",),
            ),
        ),
    ),
    Guarantee(
        "limit-accepted-connections",
        (
            Mutant(
                "broker/nsbrokerd/seal/maps.py",
                "bpf.NO_PREALLOC | bpf.CLONE)",
                "bpf.NO_PREALLOC)",
                ("tests/kernel/broker/seal/test_allows.py::test_accepted_connections_work_and_lead_nowhere_else",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/code.py",
                '        self.call(_TO_MPTCP_SOCK)\n        self.go_if(R0, "==", 0, "deny")\n',
                "        self.call(_TO_MPTCP_SOCK)\n"
                '        self.go_if(R0, "==", 0, "deny")\n'
                "        self.load(R1, R8, SOCK_PROTOCOL)\n"
                '        self.go_if(R1, "==", 255, "no subflow")\n'
                "        self.end(1)\n"
                '        self.label("no subflow")\n',
                ("tests/kernel/broker/seal/test_allows.py::test_further_subflows_lead_nowhere_else",),
            ),
        ),
    ),
    Guarantee(
        "limit-as-the-policy-says",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/code.py",
                'self.go_if_register(R5, ">", R9, f"{here}: next")',
                'self.go_if_register(R5, ">=", R9, f"{here}: next")',
                ("tests/kernel/broker/seal/test_random_rules.py::test_kernel_decides_as_the_policy_does",),
            ),
        ),
    ),
    Guarantee(
        "limit-is-proven",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/code.py",
                '        self.call(_TO_MPTCP_SOCK)\n        self.go_if(R0, "==", 0, "deny")\n',
                "        self.call(_TO_MPTCP_SOCK)\n"
                '        self.go_if(R0, "!=", 0, "is a subflow")\n'
                "        self.end(1)\n"
                '        self.label("is a subflow")\n',
                (
                    "tests/kernel/broker/seal/test_living.py::test_socket_of_the_group_without_the_name_of_a_grant_can_do_nothing",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/seal/running.py",
                "    if _libc.setsockopt(sock.fileno(), _SOL_IP, _IP_OPTIONS, None, 0) == 0 or "
                "ctypes.get_errno() != errno.EPERM:\n",
                "    if sock.fileno() < 0:\n",
                (
                    "tests/kernel/broker/seal/test_living.py::test_broker_ends_when_its_thread_was_moved_to_another_group",
                ),
            ),
        ),
    ),
    Guarantee(
        "limit-outlives-the-broker",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/__init__.py",
                "        code.call(_TAIL_CALL)\n        code.end(0)\n",
                "        code.call(_TAIL_CALL)\n        code.end(1)\n",
                ("tests/kernel/broker/seal/test_living.py::test_everything_is_denied_when_the_pins_are_removed",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/maps.py",
                '                bpf.pin(fd, f"{directory}/{name}")\n',
                "                bool(fd)\n",
                ("tests/kernel/broker/seal/test_living.py::test_limits_hold_when_the_broker_is_no_more",),
            ),
        ),
    ),
    Guarantee(
        "limit-directory",
        (
            Mutant(
                "broker/nsbrokerd/seal/maps.py",
                "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
                "fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)",
                ("tests/kernel/broker/seal/test_living.py::test_each_broker_has_limits_of_its_own",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/maps.py",
                "if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):",
                "if status.st_uid < 0:",
                ("tests/kernel/broker/seal/test_directory.py::test_directory_that_others_can_write_is_refused",),
            ),
            Mutant(
                "deploy/tmpfiles.d/nsbroker.conf",
                "d /sys/fs/bpf/nsbrokerd 0700 root root",
                "d /sys/fs/bpf/nsbrokerd 0755 root root",
                ("tests/unit/deploy/test_files.py::test_unit_lets_the_broker_limit_sockets",),
            ),
        ),
    ),
    Guarantee(
        "limit-reload",
        (
            Mutant(
                "broker/nsbrokerd/seal/writing.py",
                "        bpf.fill_slot(maps.limits, rules_fd)\n",
                "        if bpf.lookup(maps.limits, bytes(4), 4) is None:\n"
                "            bpf.fill_slot(maps.limits, rules_fd)\n",
                (
                    "tests/kernel/broker/seal/test_reload.py::test_reload_changes_where_a_socket_can_go_and_what_it_can_bind",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/seal/writing.py",
                "        for number in kept:\n            bpf.update(rules_fd",
                "        bpf.fill_slot(maps.limits, rules_fd)\n"
                "        for number in kept:\n"
                "            bpf.update(rules_fd",
                ("tests/kernel/broker/seal/test_reload.py::test_limits_change_all_at_once",),
            ),
        ),
    ),
    Guarantee(
        "limit-of-a-former-grant",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/code.py",
                "        self._look_up_key()\n        self.copy(R8, R0)\n",
                "        self.copy(R2, STACK)\n"
                "        self.add(R2, _KEY)\n"
                "        self.call(_MAP_LOOKUP)\n"
                '        self.go_if(R0, "!=", 0, "is a grant")\n'
                "        self.end(1)\n"
                '        self.label("is a grant")\n'
                "        self.copy(R8, R0)\n",
                ("tests/kernel/broker/seal/test_reload.py::test_socket_of_a_grant_that_is_no_more_can_do_nothing",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/writing.py",
                "kept = [number for number in limits if number in known or number in names]",
                "kept = [number for number in limits if number in names]",
                (
                    "tests/kernel/broker/seal/test_reload.py::test_socket_of_a_grant_that_lost_its_limit_can_go_anywhere",
                ),
            ),
        ),
    ),
    Guarantee(
        "no-limit-no-seal",
        (
            Mutant(
                "broker/nsbrokerd/sockets/opener.py",
                "(one.grant.limit is not None) is is_limited])",
                "is_limited])",
                (
                    "tests/kernel/broker/seal/test_reload.py::test_socket_without_a_limit_is_not_sealed_beside_one_with_a_limit",
                ),
            ),
        ),
    ),
    Guarantee(
        "own-group",
        (
            Mutant(
                "broker/nsbrokerd/seal/own_group.py",
                "        return _mount_anew(own)\n    if not",
                "        raise\n    if not",
                ("tests/kernel/broker/seal/test_own_group.py::test_limits_hold_however_the_group_is_shown",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/own_group.py",
                "        return _clone_writable(path)\n",
                "        return OwnGroup(path, str(path))\n",
                (
                    "tests/kernel/broker/seal/test_own_group.py::"
                    "test_group_that_is_read_only_on_the_host_is_writable_for_the_broker_alone",
                ),
            ),
        ),
    ),
    Guarantee(
        "names-of-mounts",
        (
            Mutant(
                "broker/nsbrokerd/seal/own_group.py",
                'mountinfo.split(b"\\n") if line]',
                "mountinfo.splitlines() if line]",
                ("tests/kernel/broker/seal/test_mount_names.py::test_mount_of_any_name_changes_nothing",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/own_group.py",
                'line.split(b" ") for line in',
                "line.split() for line in",
                ("tests/kernel/broker/seal/test_mount_names.py::test_mount_of_any_name_changes_nothing",),
            ),
        ),
    ),
    Guarantee(
        "revoke-stops-everything",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/code.py",
                "        self.mask_number(R1, layout.STOPPED)\n",
                "        self.mask_number(R1, 0)\n",
                ("tests/kernel/broker/commands/test_revoke.py::test_datagrams_stop_in_both_directions_for_good",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/packets.py",
                '    code.label("deny")\n    _allow_end(code)\n    code.label("drop")\n    code.end(0)\n',
                '    code.label("deny")\n    code.label("drop")\n    code.end(1)\n',
                ("tests/kernel/broker/commands/test_revoke.py::test_datagrams_stop_in_both_directions_for_good",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/ending.py",
                "for _ in end_each(diag, cookies):",
                "for _ in cookies:",
                ("tests/kernel/broker/commands/test_revoke.py::test_connections_and_listeners_end_at_once",),
            ),
        ),
    ),
    Guarantee(
        "revoke-is-not-held-up",
        (
            Mutant(
                "broker/nsbrokerd/sockets/ending.py",
                "first_deadline = min(child.deadline for child in going)",
                "first_deadline = 1e6",
                ("tests/kernel/broker/commands/test_revoke_held.py",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/ending.py",
                "for uid, cookies in wanted.pop(netns).items():",
                "for uid, cookies in {0: set().union(*wanted.pop(netns).values())}.items():",
                ("tests/kernel/broker/commands/test_revoke_held.py",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/ending.py",
                "        os.dup2(silence, fd)\n",
                "        pass\n",
                ("tests/kernel/broker/commands/test_revoke_held.py",),
            ),
        ),
    ),
    Guarantee(
        "revoke-takes-what-matches",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/iterator.py",
                '            code.load(R1, R8, offset, size)\n            code.go_if_register(R1, "!=", R2, "end")\n',
                "            code.load(R1, R8, offset, size)\n",
                ("tests/kernel/broker/commands/test_revoke.py::test_several_selectors_choose_what_matches_all",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/iterator.py",
                "code.load(R1, R8, layout.ENTRY_COOKIE, 8)",
                "code.set(R1, 0)",
                (
                    "tests/kernel/broker/commands/test_revoke.py::test_connection_is_ended_alone_or_goes_with_its_listener",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/seal/revoking.py",
                "if selection == Selection():",
                "if selection is None:",
                ("tests/unit/broker/seal/test_live.py::test_revocation_of_all_sockets_is_refused",),
            ),
        ),
    ),
)
