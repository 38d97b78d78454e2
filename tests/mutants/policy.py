"""The broker's rooms `policy` and `config`: who may have which socket, and how that is read."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

TRUSTED = "tests/kernel/broker/config/test_trusted_files.py::"

PLACES = "tests/kernel/broker/commands/test_places.py::"

ALIKE = ("tests/unit/broker/policy/test_alike.py",)

GUARANTEES = (
    Guarantee(
        "check-finds-what-serve-refuses",
        (
            Mutant(
                "broker/nsbrokerd/config/places.py",
                '        found.append(("audit.path", _why_no_audit(config.audit_path)))\n',
                "        pass\n",
                (f"{PLACES}test_audit_that_is_a_directory",),
            ),
            Mutant(
                "broker/nsbrokerd/config/places.py",
                "        return _why_no_new_file(path)\n    except OSError",
                "        return None\n    except OSError",
                (f"{PLACES}test_audit_in_a_missing_directory",),
            ),
            Mutant(
                "broker/nsbrokerd/commands/check.py",
                "find_problems(path, config, needs_socket=True)",
                "find_problems(path, config, needs_socket=False)",
                (f"{PLACES}test_socket_in_a_missing_directory",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/maps.py",
                "    if not _is_on_bpf(directory if directory.exists() else directory.parent):\n",
                "    if not directory.parent.exists():\n",
                (f"{PLACES}test_limits_in_a_place_without_bpf",),
            ),
            Mutant(
                "broker/nsbrokerd/config/parse.py",
                "> MAX_SOCKET_PATH_BYTES:\n",
                "> MAX_SOCKET_PATH_BYTES + 1:\n",
                (f"{PLACES}test_socket_with_a_long_path",),
            ),
        ),
    ),
    Guarantee(
        "groups-are-decided-as-their-sockets",
        (
            Mutant(
                "broker/nsbrokerd/policy/plans.py",
                "if spec[:4] != other[:4] or spec[5:] != other[5:]:\n",
                "if spec[1:4] != other[1:4] or spec[5:] != other[5:]:\n",
                ALIKE,
            ),
            Mutant(
                "broker/nsbrokerd/policy/plans.py",
                "if spec[:4] != other[:4] or spec[5:] != other[5:]:\n",
                "if spec[:4] != other[:4]:\n",
                ALIKE,
            ),
            Mutant(
                "broker/nsbrokerd/policy/plans.py",
                "return bind[0] == others[0] and bind[2:] == others[2:]",
                "return True",
                ALIKE,
            ),
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                "first = {0, 1, _FIRST_UNPRIVILEGED_PORT}",
                "first = {0}",
                ALIKE,
            ),
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                "first.update((rule.first_port, rule.last_port + 1))",
                "first.update((rule.first_port, rule.last_port))",
                ALIKE,
            ),
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                "for rule in (*grant.bind, *((grant.limit and grant.limit.bind) or ())):",
                "for rule in grant.bind:",
                ALIKE,
            ),
        ),
    ),
    Guarantee(
        "deny-by-default",
        (
            Mutant(
                "broker/nsbrokerd/policy/grant.py",
                "return self.users is None or subject.uid in self.users or ",
                "return True or ",
                ("tests/unit/broker/policy/test_decide.py::test_a_grant_is_for_its_users_and_groups_alone",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/grant.py",
                "return self.users is None or subject.uid in self.users or ",
                "return self.users is None or subject.uid in {0, *self.users} or ",
                ("tests/unit/broker/policy/test_decide.py::test_a_grant_is_for_its_users_and_groups_alone",),
            ),
        ),
    ),
    Guarantee(
        "granted-alone",
        (
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                "there = tuple(grant for grant in own if grant.namespaces.covers(namespace))",
                "there = tuple(grant for grant in own if grant.namespaces)",
                ("tests/unit/broker/policy/test_decide.py::test_the_reason_says_what_was_missing",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                "able = tuple(grant for grant in there if kind in grant.kinds)",
                "able = tuple(grant for grant in there if grant.kinds)",
                ("tests/unit/broker/policy/test_decide.py::test_the_reason_says_what_was_missing",),
            ),
        ),
    ),
    Guarantee(
        "exclusions-win",
        (
            Mutant(
                "broker/nsbrokerd/policy/grant.py",
                "return self.unwanted is None or not self.unwanted.match(name)",
                "return self.unwanted is None or bool(name)",
                ("tests/unit/broker/policy/test_rules.py::test_an_exclusion_wins_wherever_it_stands",),
            ),
        ),
    ),
    Guarantee(
        "host-is-written",
        (
            Mutant(
                "broker/nsbrokerd/policy/grant.py",
                "            return name in self.special\n",
                "            return name in self.special or '*' in self.texts\n",
                ("tests/unit/broker/policy/test_rules.py::test_a_star_never_means_the_host_or_an_own_namespace",),
            ),
        ),
    ),
    Guarantee(
        "one-grant-allows-the-whole",
        (
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                "        grants = kept\n",
                "        grants = grants\n",
                ("tests/unit/broker/policy/test_decide.py::test_one_grant_must_allow_the_whole_of_it",),
            ),
        ),
    ),
    Guarantee(
        "low-ports-are-listed",
        (
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                "return 0 < port < _FIRST_UNPRIVILEGED_PORT and not is_listed",
                "return port < 0 and not is_listed",
                (
                    "tests/unit/broker/policy/test_decide.py::test_a_low_port_needs_to_be_listed_and_a_high_one_does_not",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                "for address in (spec.bind, *spec.also)]",
                "for address in (spec.bind,)]",
                ("tests/unit/broker/policy/test_decide.py::test_every_address_of_a_multi_homed_socket_must_be_listed",),
            ),
        ),
    ),
    Guarantee(
        "address-rules",
        (
            Mutant(
                "broker/nsbrokerd/policy/rules.py",
                "return address.version == self.network.version and address in self.network",
                "return address.version == self.network.version",
                ("tests/unit/broker/policy/test_rules.py::test_a_rule_covers_nothing_else",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/rules.py",
                "if not self.first_port <= port <= self.last_port:",
                "if port < self.first_port:",
                ("tests/unit/broker/policy/test_rules.py::test_a_rule_covers_nothing_else",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/rules.py",
                "return (address.version == 6 and address.ipv4_mapped) or address",
                "return address",
                ("tests/unit/broker/policy/test_rules.py::test_a_v4_mapped_address_is_treated_as_the_ipv4_address",),
            ),
        ),
    ),
    Guarantee(
        "options-are-granted",
        (
            Mutant(
                "broker/nsbrokerd/policy/options.py",
                'raise UnknownOptionError(f"the broker does not set',
                'return None\n    raise UnknownOptionError(f"the broker does not set',
                ("tests/unit/broker/policy/test_rules.py::test_an_option_that_is_not_known_is_never_set",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/options.py",
                "return (option.name, option.value) == (self.name, self.value)",
                "return option.name == self.name",
                ("tests/unit/broker/policy/test_rules.py::test_option_rules_cover_their_values_alone",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/options.py",
                'if b"\\0" not in device and len(device) <= _MAX_INTERFACE_BYTES:',
                "if len(device) <= _MAX_INTERFACE_BYTES:",
                ("tests/unit/broker/policy/test_rules.py::test_an_option_that_is_not_known_is_never_set",),
            ),
        ),
    ),
    Guarantee(
        "unknown-kinds-are-refused",
        (
            Mutant(
                "broker/nsbrokerd/policy/plans.py",
                "    if kind is None:\n",
                "    kind = kind or 'tcp'\n    if not kind:\n",
                ("tests/unit/broker/policy/test_plans.py::test_only_known_triples_are_planned",),
            ),
        ),
    ),
    Guarantee(
        "packet-sockets",
        (
            Mutant(
                "client/nsbroker/wire/kind_names.py",
                '        (int(socket.AF_PACKET), _RAW, 0): "packet",\n',
                '        (int(socket.AF_PACKET), _RAW, 0): "packet",\n'
                '        (int(socket.AF_PACKET), _RAW, 0x0300): "packet",\n',
                ("tests/unit/broker/policy/test_plans.py::test_only_known_triples_are_planned",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/plans.py",
                "if packets > 1:",
                "if packets > 253:",
                ("tests/unit/broker/policy/test_plans.py::test_a_request_gets_one_packet_socket_at_most",),
            ),
        ),
    ),
    Guarantee(
        "unix-sockets-listen-by-themselves",
        (
            Mutant(
                "broker/nsbrokerd/policy/plans.py",
                'if kind == "unix" and spec.listen is not None:',
                'if kind == "unix" and spec.listen == -1:',
                ("tests/unit/broker/policy/test_plans.py::test_a_unix_socket_never_listens_for_the_client",),
            ),
        ),
    ),
    Guarantee(
        "refusals-say-what-is-missing",
        (
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                'return Deny(f"no grant of uid {subject.uid} covers namespace {namespace!r}")',
                'return Deny("denied")',
                ("tests/unit/broker/policy/test_decide.py::test_the_reason_says_what_was_missing",),
            ),
        ),
    ),
    Guarantee(
        "unlimited-grants-are-preferred",
        (
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                "return tuple(sorted(able, key=_is_limited))",
                "return able",
                ("tests/unit/broker/policy/test_limit.py::test_grant_without_limit_wins_wherever_it_stands",),
            ),
        ),
    ),
    Guarantee(
        "unknown-keys-are-refused",
        (
            Mutant(
                "broker/nsbrokerd/config/table.py",
                '            self.complain(key, f"unknown key: {advice}")\n',
                "            key.strip()\n",
                ("tests/unit/broker/config/test_parse.py::test_a_problem_names_file_key_and_reason",),
            ),
            Mutant(
                "broker/nsbrokerd/config/table.py",
                "if type(value) is not expected:",
                "if not isinstance(value, expected):",
                ("tests/unit/broker/config/test_parse.py::test_a_problem_names_file_key_and_reason",),
            ),
        ),
    ),
    Guarantee(
        "every-problem-is-named",
        (
            Mutant(
                "broker/nsbrokerd/config/table.py",
                "        self._problems.append(",
                "        self._problems[:] = self._problems[:1] or []\n        self._problems.append(",
                ("tests/unit/broker/config/test_parse.py::test_all_problems_of_all_files_are_told_at_once",),
            ),
        ),
    ),
    Guarantee(
        "names-of-grants-are-unique",
        (
            Mutant(
                "broker/nsbrokerd/config/grants.py",
                "if grant.name and grant.name in seen:",
                "if not grant.name and grant.name in seen:",
                ("tests/unit/broker/config/test_parse.py::test_a_problem_names_file_key_and_reason",),
            ),
        ),
    ),
    Guarantee(
        "policy-is-roots-alone",
        (
            Mutant(
                "broker/nsbrokerd/config/trusted_files.py",
                "                _check(here)\n",
                "                _check(here) if not parts else None\n",
                (TRUSTED + "test_each_part_of_the_path_must_be_roots",),
            ),
            Mutant(
                "broker/nsbrokerd/config/trusted_files.py",
                "        if not _is_own(os.fstat(fd)):\n            raise UntrustedError(fd)\n",
                "",
                (TRUSTED + "test_link_of_another_user_is_not_followed",),
            ),
            Mutant(
                "broker/nsbrokerd/config/trusted_files.py",
                "        if _is_writable_by_others(os.fstat(fd)):\n            raise UntrustedError(fd)\n",
                "",
                (TRUSTED + "test_files_of_a_sticky_directory_are_not_all_roots",),
            ),
            Mutant(
                "broker/nsbrokerd/config/trusted_files.py",
                'with open(f"/proc/self/fd/{fd}", "rb") as file:',
                'with open(path, "rb") as file:',
                (TRUSTED + "test_file_that_was_checked_is_read",),
            ),
            Mutant(
                "broker/nsbrokerd/config/load.py",
                'users other than root can write it; run chown root and chmod go-w"',
                '"',
                (
                    "tests/kernel/broker/commands/test_check_and_explain.py::test_configuration_that_others_can_write_is_refused",
                ),
            ),
        ),
    ),
)
