"""The client's rooms `patching`, `supervise` and `cli`: whole programs in a namespace."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

GUARANTEES = (
    Guarantee(
        "patch-fails-closed",
        (
            Mutant(
                "client/nsbroker/patching/bypass.py",
                "if not _is_ours(name) and _has_taken(module, taken) and",
                "if _is_ours(name) and _has_taken(module, taken) and",
                ("tests/unit/client/patching/test_bypass.py::test_module_that_took_the_class_before_is_named",),
            ),
            Mutant(
                "client/nsbroker/guards/guard.py",
                "        if by is not None and",
                "        if by == '' and",
                ("tests/unit/client/guards/test_guard.py::test_libraries_that_connect_in_c_are_refused_by_name",),
            ),
            Mutant(
                "client/nsbroker/guards/guard.py",
                "        if called:\n",
                "        if not called:\n",
                (
                    "tests/unit/client/guards/test_guard.py::test_extension_module_of_any_name_is_refused_if_it_connects",
                ),
            ),
            Mutant(
                "client/nsbroker/guards/guard.py",
                "            self._refuse(library, text, error)\n",
                "            return\n",
                ("tests/unit/client/guards/test_guard.py::test_extension_module_that_can_not_be_read_is_refused",),
            ),
            Mutant(
                "client/nsbroker/guards/guard.py",
                "        sys.meta_path.insert(0, self)\n",
                "        sys.meta_path.append(self)\n",
                ("tests/adapters/test_patched_libraries.py::test_library_that_reads_resolv_conf_in_c_is_refused",),
            ),
            Mutant(
                "client/nsbroker/patching/__init__.py",
                "        self._guard.start()\n",
                "",
                (
                    "tests/kernel/client/patching/test_patch.py::test_library_that_connects_in_c_is_refused_when_it_gets_imported",
                ),
            ),
            Mutant(
                "client/nsbroker/patching/__init__.py",
                "                raise kernel_error(family, type, proto) or unknown\n",
                "                _ORIGINAL.__init__(self, family, type, proto)\n",
                ("tests/unit/client/patching/test_families.py::test_other_families_do_not_exist",),
            ),
        ),
    ),
    Guarantee(
        "run-catches-every-socket",
        (
            Mutant(
                "client/nsbroker/supervise/filter.py",
                "BROKERED_FAMILIES = (socket.AF_INET, socket.AF_INET6, ",
                "BROKERED_FAMILIES = (socket.AF_INET, ",
                ("tests/unit/client/supervise/test_filter.py::test_every_network_family_is_asked_about",),
            ),
            Mutant(
                "client/nsbroker/supervise/filter.py",
                "        end_with(_NO_FAMILY),\n",
                "        end_with(ALLOW),\n",
                ("tests/unit/client/supervise/test_filter.py::test_every_other_family_is_unknown",),
            ),
            Mutant(
                "client/nsbroker/supervise/filter.py",
                '            if_equal(IO_URING_SETUP, "absent"),\n            end_with(ALLOW),\n',
                "            end_with(ALLOW),\n",
                ("tests/kernel/client/supervise/test_run_processes.py::test_io_uring_is_absent",),
            ),
            Mutant(
                "client/nsbroker/supervise/filter.py",
                'if_equal(SOCKETCALL_SOCKET, "absent"),',
                'if_equal(-1 & 0xFFFF, "absent"),',
                (
                    "tests/unit/client/supervise/test_filter.py::test_32_bit_x86_has_all_calls_but_those_that_make_sockets",
                ),
            ),
            Mutant(
                "client/nsbroker/supervise/filter.py",
                "numbers = (X32_BIT | machine.socket, X32_BIT | IO_URING_SETUP)",
                "numbers = (X32_BIT | IO_URING_SETUP,)",
                ("tests/unit/client/supervise/test_filter.py::test_x32_has_all_calls_but_those_that_make_sockets",),
            ),
            Mutant(
                "client/nsbroker/supervise/filter.py",
                '            if_equal(machine.foreign_audit, "foreign"),\n            end_with(_ABSENT),\n',
                '            if_equal(machine.foreign_audit, "foreign"),\n            end_with(ALLOW),\n',
                ("tests/unit/client/supervise/test_filter.py::test_instruction_set_that_nobody_knows_has_no_calls",),
            ),
        ),
    ),
    Guarantee(
        "run-keeps-interfaces-inside",
        (
            Mutant(
                "client/nsbroker/supervise/filter.py",
                '            if_equal(machine.ioctl, "ioctl"),\n',
                "",
                (
                    "tests/kernel/client/supervise/test_run_interfaces.py::test_names_and_numbers_are_those_of_the_namespace",
                ),
            ),
            Mutant(
                "client/nsbroker/supervise/filter.py",
                "range(0x89F0, 0x8A00), range(0x8B00, 0x8C00))",
                "range(0x89F0, 0x8A00))",
                ("tests/unit/client/supervise/test_filter.py::test_requests_about_interfaces_are_asked_about",),
            ),
            Mutant(
                "client/nsbroker/supervise/filter.py",
                '    program += [if_equal(machine.foreign_ioctl, "other ioctl")]\n',
                "",
                (
                    "tests/unit/client/supervise/test_filter.py::test_other_instruction_sets_can_not_ask_about_interfaces",
                ),
            ),
            Mutant(
                "client/nsbroker/supervise/caller.py",
                "            return all(line",
                "            return any(line",
                ("tests/unit/client/supervise/test_caller.py::test_name_that_imitates_a_line_makes_no_socket_idle",),
            ),
            Mutant(
                "client/nsbroker/supervise/supervisor.py",
                "            if not caller.is_idle_unix_socket(sock.inode):\n",
                "            if False:\n",
                ("tests/kernel/client/supervise/test_run_interfaces.py::test_unix_socket_in_use_is_not_asked",),
            ),
            Mutant(
                "client/nsbroker/supervise/supervisor.py",
                "            raise Refusal(errno.EPERM, UNSEEN) from error\n",
                "            return None\n",
                (
                    "tests/kernel/client/supervise/test_run_interfaces.py::test_process_that_can_not_be_traced_is_refused",
                ),
            ),
            Mutant(
                "client/nsbroker/supervise/supervisor.py",
                "        if request == TUNSETIFF:\n",
                "        if request == 0:\n",
                ("tests/kernel/client/supervise/test_run_interfaces.py::test_tun_devices_are_refused",),
            ),
        ),
    ),
    Guarantee(
        "run-knows-its-programs",
        (
            Mutant(
                "client/nsbroker/supervise/caller.py",
                "    if shown != str(os.getpid()) or network is None:\n",
                "    if network is None:\n",
                ("tests/kernel/client/supervise/test_run_processes.py::test_pid_namespace_needs_its_own_proc",),
            ),
            Mutant(
                "client/nsbroker/supervise/supervisor.py",
                "return network is not None and network != self._own_network",
                "return network != self._own_network",
                (
                    "tests/kernel/client/supervise/test_run_processes.py::test_caller_that_can_not_be_seen_counts_as_not_moved",
                ),
            ),
        ),
    ),
    Guarantee(
        "run-keeps-no-copy",
        (
            Mutant(
                "client/nsbroker/supervise/supervisor.py",
                "            sock.close()\n        answer(self._listener, call, number)\n",
                "            answer(self._listener, call, number)\n            sock.close()\n",
                ("tests/kernel/client/supervise/test_run_processes.py::test_port_is_free_when_close_returns",),
            ),
        ),
    ),
    Guarantee(
        "run-sets-options-at-birth",
        (
            Mutant(
                "client/nsbroker/supervise/calls.py",
                "proto, bind, options=options_of(family))",
                "proto, bind)",
                ("tests/kernel/client/supervise/test_run_options.py::test_sockets_have_the_options_from_birth",),
            ),
            Mutant(
                "client/nsbroker/supervise/supervisor.py",
                "return sock.getsockopt(level, name) & _UNSIGNED == value",
                "return True",
                (
                    "tests/kernel/client/supervise/test_run_options.py::test_other_value_is_refused_and_the_line_names_the_flag",
                ),
            ),
            Mutant(
                "client/nsbroker/supervise/supervisor.py",
                "            self._explain(call, line)\n        answer_continue(",
                "            pass\n        answer_continue(",
                ("tests/kernel/client/supervise/test_run_options.py::test_without_a_flag_the_line_names_it",),
            ),
            Mutant(
                "client/nsbroker/supervise/caller.py",
                '        if os.stat(f"/proc/{tid}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino:\n'
                "            return False\n",
                "",
                (
                    "tests/kernel/client/supervise/test_run_options.py::test_capabilities_in_a_user_namespace_do_not_count",
                ),
            ),
        ),
    ),
    Guarantee(
        "run-gives-no-privileges",
        (
            Mutant(
                "client/nsbroker/supervise/kernel.py",
                "_check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))",
                "_check(0)",
                ("tests/kernel/client/supervise/test_run.py::test_setuid_programs_have_no_effect",),
            ),
        ),
    ),
    Guarantee(
        "run-loses-no-socket",
        (
            Mutant(
                "client/nsbroker/supervise/kernel.py",
                "flags = _NEW_LISTENER | _WAIT_KILLABLE_RECV",
                "flags = _NEW_LISTENER",
                (
                    "tests/kernel/client/supervise/test_run_processes.py::test_signal_does_not_interrupt_a_call_that_was_taken",
                ),
            ),
        ),
    ),
    Guarantee(
        "run-leaves-moved-programs-alone",
        (
            Mutant(
                "client/nsbroker/supervise/supervisor.py",
                "return network is not None and network != self._own_network",
                "return network is None",
                (
                    "tests/kernel/client/supervise/test_run_processes.py::test_caller_that_moved_to_another_network_namespace_is_left_alone",
                ),
            ),
        ),
    ),
    Guarantee(
        "run-fails-closed",
        (
            Mutant(
                "client/nsbroker/supervise/supervisor.py",
                "            answer_errno(self._listener, notification, errno_of(error))\n",
                "            answer_continue(self._listener, notification)\n",
                (
                    "tests/kernel/client/supervise/test_run.py::test_refusal_by_policy_is_permission_denied_and_one_line",
                ),
            ),
            Mutant(
                "client/nsbroker/supervise/supervisor.py",
                "            self._explain(notification, line, may_not_matter=may_not_matter)\n",
                "",
                (
                    "tests/kernel/client/supervise/test_run.py::test_refusal_by_policy_is_permission_denied_and_one_line",
                ),
            ),
            Mutant(
                "client/nsbroker/supervise/calls.py",
                "return errno.EACCES",
                "return errno.ENETDOWN",
                ("tests/unit/client/supervise/test_calls.py",),
            ),
        ),
    ),
    Guarantee(
        "run-keeps-names-inside",
        (
            Mutant(
                "client/nsbroker/supervise/etc_files.py",
                "    for service in plan.services:\n        _hide(service)\n",
                "",
                (
                    "tests/kernel/client/supervise/test_run_names.py::test_services_that_would_look_up_names_outside_are_hidden",
                ),
            ),
            Mutant(
                "client/nsbroker/supervise/etc_files.py",
                "[_bind(source, target) for source, target in plan.files]",
                "[None for source, target in plan.files]",
                (
                    "tests/kernel/client/supervise/test_run_names.py::test_files_of_the_namespace_are_in_place_and_the_user_is_the_same",
                ),
            ),
            Mutant(
                "client/nsbroker/supervise/etc_files.py",
                "    if error is None:\n        return _carry_out(plan)\n",
                "    if error is None:\n        return _carry_out(plan)\n    return []\n",
                (
                    "tests/kernel/client/supervise/test_run_names.py::test_where_user_namespaces_are_forbidden_one_line_says_that_names_leak",
                ),
            ),
        ),
    ),
    Guarantee(
        "run-keeps-nothing-open",
        (
            Mutant(
                "client/nsbroker/supervise/detached.py",
                '    for fd in {int(name) for name in os.listdir("/proc/self/fd")} - kept - {0, 1}:\n',
                "    for fd in [0][:0]:\n",
                (
                    "tests/kernel/client/supervise/test_run_processes.py::test_supervisor_keeps_nothing_that_others_miss",
                ),
            ),
            Mutant(
                "client/nsbroker/supervise/caller.py",
                "        os.close(copy)\n",
                "",
                (
                    "tests/kernel/client/supervise/test_run_options.py::test_supervisor_keeps_no_file_of_a_program_that_sets_the_mark_of_a_pipe",
                ),
            ),
        ),
    ),
    Guarantee(
        "tool-has-its-own-status",
        (
            Mutant(
                "client/nsbroker/cli/__init__.py",
                "return SETUP_FAILED if no_broker else REFUSED",
                "return REFUSED",
                ("tests/local/client/cli/test_nsbroker_get.py::test_no_broker_is_125_and_says_what_to_do",),
            ),
        ),
    ),
)
