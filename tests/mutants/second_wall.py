"""The second wall of the seal, and the sweep after a reload: an interpreter runs their programs on any kernel."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

_CALLS = "broker/nsbrokerd/seal/programs/calls.py"
_SCTP = "broker/nsbrokerd/seal/programs/sctp.py"
_PARENTS = "broker/nsbrokerd/seal/programs/parents.py"
_NEEDED = "broker/nsbrokerd/seal/needed.py"
_WALL = "broker/nsbrokerd/seal/wall.py"
_RUNNING = "broker/nsbrokerd/seal/running.py"
_REVOKING = "broker/nsbrokerd/seal/revoking.py"
_LISTED = "broker/nsbrokerd/seal/programs/associations.py"
_ABORTING = "broker/nsbrokerd/seal/aborting.py"
_PACKETS = "broker/nsbrokerd/seal/programs/packets.py"
_TEST = "tests/unit/broker/seal/test_calls.py::"
_SCTP_TEST = "tests/unit/broker/seal/test_sctp.py::"
_REVOKING_TEST = "tests/unit/broker/seal/test_revoking.py::"
_NEEDED_TEST = "tests/unit/broker/seal/test_needed.py::"
_WALL_TEST = "tests/unit/broker/seal/test_wall.py::"
_ABORTING_TEST = "tests/unit/broker/seal/test_aborting.py::"
_STOPPED_TEST = "tests/kernel/broker/seal/test_stopped_associations.py::"

GUARANTEES = (
    Guarantee(
        "limit-cuts-connections",
        (
            Mutant(
                "broker/nsbrokerd/seal/programs/sweep.py",
                '    code.go_if_covered(CONNECT, "allow")\n    code.go("deny")\n',
                '    code.go("allow")\n',
                (f"{_TEST}test_sweep_cuts_off_sockets_whose_peer_is_not_covered",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/sweep.py",
                '    code.go_if_flag(layout.SEVERAL, "peer has several addresses")\n',
                "",
                (f"{_TEST}test_sweep_cuts_off_sockets_whose_peer_is_not_covered",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/sweep.py",
                "    _go_if_unchecked(code, fields)\n",
                "",
                (f"{_TEST}test_sweep_cuts_off_a_socket_of_which_sctp_could_make_one_that_nothing_checked",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/sweep.py",
                "    code.set(R1, ~layout.CUT)\n",
                "    code.set(R1, ~0)\n",
                (f"{_TEST}test_sweep_cuts_off_sockets_whose_peer_is_not_covered",),
            ),
            Mutant(
                _RUNNING,
                "                    self._sweep(put_back)\n",
                "                    pass\n",
                (
                    "tests/kernel/broker/seal/test_reload.py::"
                    "test_what_is_connected_is_cut_off_until_its_peer_is_covered_again",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/seal/layout.py",
                "STOPPED = REVOKED | CUT",
                "STOPPED = REVOKED",
                (f"{_TEST}test_socket_that_was_cut_off_can_do_nothing",),
            ),
        ),
    ),
    Guarantee(
        "limit-second-wall-is-needed",
        (
            Mutant(
                _NEEDED,
                '    "tcp": _ALL | _CONNECTIONS,\n',
                '    "tcp": _ALL | _CONNECTIONS | FOR_EACH_PACKET,\n',
                (f"{_NEEDED_TEST}test_hooks_for_each_packet_are_only_for_kinds_that_need_them",),
            ),
            Mutant(
                _NEEDED,
                "    return hooks_for(kinds) - FOR_EACH_PACKET\n",
                "    return hooks_for(kinds)\n",
                (f"{_NEEDED_TEST}test_hooks_for_each_packet_are_needed_only_while_a_socket_that_needs_them_is_in_use",),
            ),
            Mutant(
                _NEEDED,
                "set(filter(is_inet, KIND_OF_TRIPLE.values()))",
                "set()",
                (f"{_NEEDED_TEST}test_kinds_of_live_sockets_count",),
            ),
            Mutant(
                _RUNNING,
                "                self._untidy_kinds = kinds\n",
                "                pass\n",
                (f"{_WALL_TEST}test_superfluous_programs_are_removed_once_revoke_has_ended",),
            ),
            Mutant(
                _RUNNING,
                "            remove_packet_hooks(self._directory, self._maps, self._ended())\n",
                "            pass\n",
                (
                    f"{_WALL_TEST}test_hooks_for_each_packet_are_removed_within_a_minute_of_the_end_of_the_sockets_that_need_them",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "                self._seal.tidy()\n",
                "                pass\n",
                ("tests/kernel/broker/seal/test_reload.py::test_programs_of_another_version_go_once_revoke_has_ended",),
            ),
        ),
    ),
    Guarantee(
        "limit-ends-associations",
        (
            Mutant(
                _LISTED,
                '    code.go_if(R2, "==", 0, "end")\n',
                "",
                (f"{_ABORTING_TEST}test_only_stopped_sockets_that_the_first_wall_does_not_see_are_listed",),
            ),
            Mutant(
                _LISTED,
                '    code.go_if(R2, "!=", 0, "selected")\n',
                "",
                (f"{_ABORTING_TEST}test_only_stopped_sockets_that_the_first_wall_does_not_see_are_listed",),
            ),
            Mutant(
                _LISTED,
                '    code.go_if(R1, "!=", 0, "makes others")\n',
                "",
                (f"{_ABORTING_TEST}test_only_stopped_sockets_that_the_first_wall_does_not_see_are_listed",),
            ),
            Mutant(
                _LISTED,
                '    code.go_if(R0, "!=", 0, "unknown")\n',
                '    code.go_if(R0, "!=", 0, "end")\n',
                (f"{_ABORTING_TEST}test_what_can_not_be_read_counts_as_any_association",),
            ),
            Mutant(
                _LISTED,
                "    code.store_number(STACK, _STATE, _LOCKED)\n    write_record(code, _RECORD.size)\n",
                "    code.store_number(STACK, _STATE, _LOCKED)\n",
                (f"{_ABORTING_TEST}test_lock_of_a_socket_that_can_make_others_is_told",),
            ),
            Mutant(
                _LISTED,
                '    code.go_if(R1, "==", _SEQPACKET, "can communicate")\n',
                "",
                (f"{_ABORTING_TEST}test_ended_association_of_a_listener_is_left_out",),
            ),
            Mutant(
                _ABORTING,
                "            _abort_all(gate, (one for one in left if one.tag), stops)\n",
                "            pass\n",
                (f"{_ABORTING_TEST}test_each_association_is_aborted_in_its_own_namespace",),
            ),
            Mutant(
                _ABORTING,
                "!= ends.own.packed:\n            return\n",
                "!= ends.own.packed:\n            pass\n",
                (f"{_STOPPED_TEST}test_packet_is_sent_only_to_an_address_of_its_namespace",),
            ),
            Mutant(
                _ABORTING,
                "        return not left\n",
                "        return True\n",
                (f"{_ABORTING_TEST}test_associations_are_aborted_until_nothing_changes_for_a_while",),
            ),
            Mutant(
                _ABORTING,
                "self._ended = ended if self._ended is before else {}\n",
                "self._ended = ended\n",
                (f"{_ABORTING_TEST}test_parents_that_the_thread_finds_while_limits_change_do_not_count",),
            ),
            Mutant(
                _ABORTING,
                "self._ended.items() if cookie in stopped}\n",
                "self._ended.items()}\n",
                (f"{_ABORTING_TEST}test_parent_counts_from_the_first_time_at_which_it_had_no_association",),
            ),
            Mutant(
                _RUNNING,
                "        self._remove_superfluous(kinds)\n        self._abort_associations()\n",
                "        self._remove_superfluous(kinds)\n",
                (
                    f"{_WALL_TEST}test_hooks_for_each_packet_stay_if_a_call_made_a_socket_that_has_an_association_just_in_time",
                ),
            ),
            Mutant(
                _REVOKING,
                "        abort_associations(maps)\n",
                "        pass\n",
                (f"{_REVOKING_TEST}test_failure_to_abort_is_no_failure_to_revoke",),
            ),
            Mutant(
                _LISTED,
                '    code.go_if(R8, ">=", _MOST, "unknown")\n',
                '    code.go_if(R8, ">=", _MOST, "end")\n',
                (f"{_ABORTING_TEST}test_list_has_a_limit",),
            ),
            Mutant(
                _REVOKING,
                "    if not number:\n",
                "    if number is not None:\n",
                (f"{_REVOKING_TEST}test_associations_that_can_not_be_ended_are_reported",),
            ),
            Mutant(
                _CALLS,
                'code.go_if(R4, "==", option, "deny")\n        code.label(f"not option {number}")\n',
                'code.label(f"not option {number}")\n',
                (f"{_TEST}test_options_are_refused_by_number_and_to_narrow_callers",),
            ),
            Mutant(
                _PACKETS,
                '        code.go_if(R1, "!=", header_bytes + _ABORT_BYTES, "drop")\n',
                "",
                (f"{_ABORTING_TEST}test_stopped_socket_hears_only_an_abort_that_says_nothing",),
            ),
            Mutant(
                _PACKETS,
                '    code.go_if(R1, "==", _SOCK_RAW, "drop")\n',
                "",
                (f"{_ABORTING_TEST}test_stopped_socket_hears_only_an_abort_that_says_nothing",),
            ),
            Mutant(
                _PACKETS,
                '        code.go_if(R1, "==", _ABORT, "allow")\n',
                "",
                (f"{_ABORTING_TEST}test_stopped_socket_hears_only_an_abort_that_says_nothing",),
            ),
        ),
    ),
    Guarantee(
        "limit-waits-for-no-process",
        (
            Mutant(
                "broker/nsbrokerd/seal/background.py",
                "    if not background.wait(limit_s):\n",
                "    if not background.wait():\n",
                (f"{_WALL_TEST}test_main_thread_waits_for_the_kernel_only_for_a_while",),
            ),
            Mutant(
                _WALL,
                '        os.rename(place, directory / f"{_REMOVED}{os.urandom(8).hex()}")\n',
                "        place.unlink()\n",
                (f"{_WALL_TEST}test_main_thread_does_not_wait_until_programs_are_detached",),
            ),
            Mutant(
                _RUNNING,
                "        self._abort_associations()\n        self._detacher.start()\n\n",
                "        self._abort_associations()\n\n",
                (f"{_WALL_TEST}test_main_thread_does_not_wait_until_programs_are_detached",),
            ),
            Mutant(
                _WALL,
                "    return call_with_limit(lambda: _pin_new(directory, maps, name), _ATTACH_S)\n",
                "    return _pin_new(directory, maps, name)\n",
                (
                    f"{_WALL_TEST}test_main_thread_waits_for_the_kernel_only_for_a_while",
                    f"{_REVOKING_TEST}test_command_attaches_nothing_while_the_kernel_waits_for_a_process",
                ),
            ),
            Mutant(
                _WALL,
                "call_with_limit(lambda: _is_asked(maps), _ATTACH_S)",
                "_is_asked(maps)",
                (f"{_WALL_TEST}test_trial_of_the_second_wall_waits_for_the_kernel_only_for_a_while",),
            ),
            Mutant(
                _WALL,
                "            detach_removed(directory)\n        finally:\n",
                "            pass\n        finally:\n",
                (f"{_WALL_TEST}test_command_does_not_wait_until_programs_are_detached",),
            ),
        ),
    ),
    Guarantee(
        "limit-second-wall-is-repaired",
        (
            Mutant(
                _WALL,
                "(set(hooks) if anew else set(hooks) - standing_hooks(directory))",
                "(set(hooks) if anew else set())",
                (f"{_WALL_TEST}test_wall_is_built_once_and_repaired_where_a_pin_is_gone",),
            ),
            Mutant(
                _WALL,
                "(set(hooks) if anew else set(hooks) - standing_hooks(directory))",
                "(set(hooks) - standing_hooks(directory))",
                (f"{_WALL_TEST}test_next_broker_replaces_every_program_in_place",),
            ),
            Mutant(
                _WALL,
                "        if bpf.is_passing(error):\n",
                "        if not reason:\n",
                (f"{_WALL_TEST}test_failure_that_can_pass_is_no_answer",),
            ),
            Mutant(
                _RUNNING,
                "                self.why_alone = self._why_no_second_wall = why_no_second_wall()\n"
                "                self._is_tried = True\n",
                "                self._is_tried = True\n"
                "                self.why_alone = self._why_no_second_wall = why_no_second_wall()\n",
                (f"{_WALL_TEST}test_reload_tries_the_second_wall_again_after_a_failure_that_can_pass",),
            ),
            Mutant(
                _RUNNING,
                "        build(self._directory, self._maps, hooks - self._own, anew=True)\n",
                "        build(self._directory, self._maps, hooks - self._own, anew=False)\n",
                (f"{_WALL_TEST}test_programs_of_another_version_are_replaced_before_a_socket_needs_them",),
            ),
        ),
    ),
    Guarantee(
        "limit-hooks-for-packets",
        (
            Mutant(
                _RUNNING,
                "            self._aborter.forget_others(frozenset())  # ",
                "            # ",
                (f"{_WALL_TEST}test_former_limits_are_put_back_if_sockets_in_use_can_not_be_swept",),
            ),
            Mutant(
                _RUNNING,
                "        self._build_second_wall(hooks_for_change(self._maps, kinds, standing))\n",
                "        self._build_second_wall(needed_hooks(self._maps, kinds))\n",
                (f"{_WALL_TEST}test_hooks_stand_before_limits_change_and_are_removed_if_no_socket_is_cut_off",),
            ),
            Mutant(
                _RUNNING,
                "            if missing := hooks & FOR_EACH_PACKET - standing_hooks(self._directory):\n",
                "            if missing := set[str]():\n",
                (f"{_WALL_TEST}test_limits_do_not_change_if_sockets_in_use_could_not_be_cut_off",),
            ),
            Mutant(
                _NEEDED,
                "bool(one.flags & (CLONED | PARENT))",
                "bool(one.flags & CLONED)",
                (f"{_NEEDED_TEST}test_hooks_for_each_packet_are_for_sockets_that_the_first_wall_can_not_stop",),
            ),
            Mutant(
                _NEEDED,
                " | needed_for_packets(maps, sockets, ended)\n    except",
                "\n    except",
                (f"{_NEEDED_TEST}test_hooks_for_each_packet_are_needed_only_while_a_socket_that_needs_them_is_in_use",),
            ),
            Mutant(
                _NEEDED,
                " or (stopped and list_associations(maps)) else frozenset()\n",
                " else frozenset()\n",
                (
                    f"{_WALL_TEST}test_hooks_for_each_packet_stay_if_a_call_made_a_socket_that_has_an_association_just_in_time",
                ),
            ),
            Mutant(
                _NEEDED,
                " if _parents(stopped) - ended or (stopped",
                " if (stopped",
                (
                    f"{_WALL_TEST}test_hooks_for_each_packet_are_removed_a_minute_after_the_last_association_of_a_stopped_socket",
                ),
            ),
            Mutant(
                _NEEDED,
                "for one in stopped if not one.flags & CHOSEN)\n",
                "for one in stopped)\n",
                (f"{_NEEDED_TEST}test_parents_that_began_associations_never_stop_counting",),
            ),
            Mutant(
                _RUNNING,
                "        elif MAKES_SOCKETS in standing and open_associations(self._maps):\n",
                "        elif set[str]():\n",
                (f"{_WALL_TEST}test_hooks_for_each_packet_stay_while_a_stopped_socket_can_have_an_association",),
            ),
            Mutant(
                _NEEDED,
                '        in_use.add("sctp")  # ',
                "        pass  # ",
                (f"{_NEEDED_TEST}test_all_hooks_of_kinds_in_use_stand_while_limits_change",),
            ),
            Mutant(
                _WALL,
                "        if not is_locked:\n            return False\n",
                "",
                (f"{_REVOKING_TEST}test_broker_removes_no_hook_while_sockets_are_revoked",),
            ),
            Mutant(
                _WALL,
                "            kept |= FOR_EACH_PACKET  # some may be revoked\n",
                "            pass\n",
                (f"{_REVOKING_TEST}test_hooks_stay_if_the_command_fails_midway",),
            ),
            Mutant(
                _REVOKING,
                "    with closing(maps), on_standby(directory, maps) as kept:\n",
                "    kept: set[str] = set()\n    with closing(maps):\n",
                (f"{_REVOKING_TEST}test_hooks_are_pinned_before_a_socket_is_revoked",),
            ),
            Mutant(
                _REVOKING,
                "            if any(map(escapes_first_wall, found)):\n",
                "            if not found:\n",
                (f"{_REVOKING_TEST}test_hooks_are_pinned_before_a_socket_is_revoked",),
            ),
            Mutant(
                "broker/nsbrokerd/commands/revoke.py",
                "    return 0 if count and not left.sockets and not unstopped else 1\n",
                "    return 0 if count and not left.sockets else 1\n",
                ("tests/unit/broker/commands/test_revoke.py",),
            ),
        ),
    ),
    Guarantee(
        "limit-listen",
        (
            Mutant(
                _CALLS,
                "    code.go_if_covered(BIND, allowed)\n",
                "    code.go(allowed)\n",
                (f"{_TEST}test_listener_needs_an_address_that_the_limit_still_covers",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/programs/code.py",
                "        self.find_any_entry_or_go(socket, label)\n        self._take_entry()\n",
                "        self.find_any_entry_or_go(socket, label)\n",
                (f"{_TEST}test_socket_that_was_cut_off_can_do_nothing",),
            ),
        ),
    ),
    Guarantee(
        "limit-narrow-callers",
        (
            Mutant(
                _CALLS,
                '    code.mask_number(R1, fields["compat.bit"])\n',
                "    code.mask_number(R1, 0)\n",
                (f"{_TEST}test_options_are_refused_by_number_and_to_narrow_callers",),
            ),
            Mutant(
                _CALLS,
                '            code.go_if(R4, "==", option, "deny")\n',
                '            code.go_if(R4, "==", option, "allow")\n',
                (f"{_TEST}test_options_are_refused_by_number_and_to_narrow_callers",),
            ),
            Mutant(
                _CALLS,
                "_URING_SETSOCKOPT = 3",
                "_URING_SETSOCKOPT = 4",
                (f"{_TEST}test_ring_sets_no_option_of_a_sealed_socket",),
            ),
        ),
    ),
    Guarantee(
        "limit-sctp",
        (
            Mutant(
                _SCTP,
                '    code.go_if(R1, ">", GIVEN_BYTES, "deny")\n',
                "",
                (f"{_SCTP_TEST}test_sctp_asks_for_each_address",),
            ),
            Mutant(
                _SCTP,
                "    code.set(R1, layout.CLONED)\n    code.set_bits(R9, layout.ENTRY_FLAGS, R1)\n",
                "",
                (f"{_SCTP_TEST}test_socket_that_sctp_makes_has_a_copy_of_the_entry",),
            ),
            Mutant(
                _SCTP,
                '            code.go_if(R1, "==", option, f"begins, {reason}")\n',
                "            pass\n",
                (f"{_SCTP_TEST}test_socket_that_begins_an_association_has_chosen_its_peer",),
            ),
            Mutant(
                _SCTP,
                '    code.go_if(R1, ">=", _ESTABLISHED, "established")\n',
                '    code.go("established")\n',
                (f"{_SCTP_TEST}test_new_socket_is_revoked_if_its_peer_has_or_can_get_addresses_that_nothing_checks",),
            ),
            Mutant(
                _SCTP,
                '    code.go_if(R1, "<=", 1, "one address")\n',
                '    code.go("one address")\n',
                (f"{_SCTP_TEST}test_new_socket_is_revoked_if_its_peer_has_or_can_get_addresses_that_nothing_checks",),
            ),
            Mutant(
                _SCTP,
                '    code.go_if_anywhere(CONNECT, "allow")\n    code.go_if_covered(CONNECT, "allow")\n',
                '    code.go("allow")\n',
                (
                    f"{_SCTP_TEST}test_new_socket_is_revoked_if_the_limit_does_not_cover_the_peer_any_more_that_its_owner_chose",
                ),
            ),
            Mutant(
                _SCTP,
                '    code.go_if(number, ">=", _MAX_PARAMETERS, "several addresses")\n',
                '    code.go_if(number, ">=", _MAX_PARAMETERS, "allow")\n',
                (f"{_SCTP_TEST}test_peer_of_several_addresses_is_refused_when_it_asks",),
            ),
            Mutant(
                _SCTP,
                '            code.go_if_register(R1, "!=", R2, "several addresses")\n',
                "",
                (f"{_SCTP_TEST}test_peer_of_several_addresses_is_refused_when_it_asks",),
            ),
            Mutant(
                _SCTP,
                '    code.go_if(R3, "==", _PARAM_ADD_IP, "peer adds")\n',
                "",
                (f"{_SCTP_TEST}test_peer_adds_no_address_to_an_association_that_can_get_a_socket_of_its_own",),
            ),
            Mutant(
                _SCTP,
                '    code.go_if_flag(layout.CLONED, "without the first wall")\n    code.go("allow")\n',
                '    code.go("allow")\n',
                (f"{_SCTP_TEST}test_association_that_was_peeled_off_early_is_not_established_with_several_addresses",),
            ),
            Mutant(
                _CALLS,
                '    code.go_if_flag(layout.SEVERAL | layout.CHOSEN, "was not checked")\n',
                '    code.go_if_flag(layout.CHOSEN, "was not checked")\n',
                (
                    f"{_SCTP_TEST}test_nothing_is_accepted_if_a_peer_of_several_addresses_asked_before_connecting_was_limited",
                ),
            ),
            Mutant(
                _CALLS,
                '    code.go_if_flag(layout.SEVERAL | layout.CHOSEN, "was not checked")\n',
                '    code.go_if_flag(layout.SEVERAL, "was not checked")\n',
                (f"{_SCTP_TEST}test_nothing_is_accepted_from_a_socket_that_began_an_association",),
            ),
            Mutant(
                _CALLS,
                '    code.go_if(R1, "!=", _STREAM, "allow")\n',
                '    code.go("allow")\n    code.label("never")\n',
                (f"{_SCTP_TEST}test_socket_either_begins_associations_or_makes_other_sockets",),
            ),
            Mutant(
                _CALLS,
                '    choose_peer(code, "covered")\n',
                '    mark(code, layout.CHOSEN, "covered")\n',
                (f"{_SCTP_TEST}test_socket_either_begins_associations_or_makes_other_sockets",),
            ),
            Mutant(
                _SCTP,
                '    choose_peer(code, "begins, covered")\n',
                '    mark(code, layout.CHOSEN, "begins, covered")\n',
                (f"{_SCTP_TEST}test_socket_either_begins_associations_or_makes_other_sockets",),
            ),
            Mutant(
                _PARENTS,
                "        code.mask_number(R1, layout.CHOSEN | layout.SEVERAL)\n",
                "        code.mask_number(R1, layout.SEVERAL)\n",
                (f"{_SCTP_TEST}test_socket_either_begins_associations_or_makes_other_sockets",),
            ),
            Mutant(
                _PARENTS,
                "        code.mask_number(R1, layout.CHOSEN | layout.SEVERAL)\n",
                "        code.mask_number(R1, layout.CHOSEN)\n",
                (
                    f"{_SCTP_TEST}test_socket_that_had_a_peer_of_several_addresses_makes_no_others_once_connecting_is_limited",
                ),
            ),
            Mutant(
                _PARENTS,
                '    code.go_if_register(R0, "==", R2, "allow")\n',
                '    code.go("allow")\n',
                (f"{_SCTP_TEST}test_call_sees_what_happens_while_it_decides",),
            ),
            Mutant(
                _PARENTS,
                "    code.replace(R7, layout.ENTRY_FLAGS, R1)\n",
                "    code.set_bits(R7, layout.ENTRY_FLAGS, R3)\n",
                (f"{_SCTP_TEST}test_call_sees_what_happens_while_it_decides",),
            ),
            Mutant(
                _PARENTS,
                "        code.mask_number(R1, layout.STOPPED)\n",
                "        code.mask_number(R1, 0)\n",
                (f"{_SCTP_TEST}test_call_sees_what_happens_while_it_decides",),
            ),
            Mutant(
                _SCTP,
                "    code.mask_number(R1, layout.STOPPED)\n    code.set_bits(R9, layout.ENTRY_FLAGS, R1)\n",
                "",
                (f"{_SCTP_TEST}test_socket_that_sctp_makes_of_one_that_is_stopped_meanwhile_is_stopped",),
            ),
            Mutant(
                _SCTP,
                '    code.label("collision")\n    _deny_or_note(code, "collision")\n',
                '    code.label("collision")\n',
                (f"{_SCTP_TEST}test_cookie_establishes_no_association_of_a_socket_that_was_peeled_off_before",),
            ),
            Mutant(
                _SCTP,
                "    code.call(_SEND_SIGNAL)\n",
                "",
                (f"{_SCTP_TEST}test_caller_ends_if_there_is_no_memory_for_the_copy",),
            ),
            Mutant(
                "broker/nsbrokerd/config/grants.py",
                "if reason is None and kind in NEED_SECOND_WALL and",
                "if reason is None and kind == '' and",
                ("tests/unit/broker/config/test_limit.py::test_sctp_needs_the_second_wall",),
            ),
        ),
    ),
)
