"""The broker's room `service`, and the units: its socket, a reload, its rights, its end."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

SIGNALS = "tests/kernel/broker/service/test_signals.py::"
_RELOAD = "tests/kernel/broker/seal/test_reload.py::"

GUARANTEES = (
    Guarantee(
        "socket-is-for-its-group",
        (
            Mutant(
                "broker/nsbrokerd/service/listener.py",
                "mode = 0o600 if gid is None else 0o660",
                "mode = 0o600 if gid is None else 0o666",
                (
                    "tests/kernel/broker/service/test_lifecycle.py::test_own_socket_is_for_its_group_and_goes_with_the_broker",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/service/listener.py",
                "os.chown(path, -1, gid, follow_symlinks=False)",
                "os.chown(path, -1, -1, follow_symlinks=False)",
                (
                    "tests/kernel/broker/service/test_listener.py::test_socket_has_its_group_in_a_directory_that_gives_another",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/service/listener.py",
                "                os.setegid(gid)\n",
                "                os.setegid(own_gid)\n",
                ("tests/kernel/broker/service/test_listener.py::test_socket_is_made_with_its_group_and_mode",),
            ),
            Mutant(
                "broker/nsbrokerd/service/listener.py",
                "umask = os.umask(0o777 & ~mode)",
                "umask = os.umask(0o777)",
                ("tests/kernel/broker/service/test_listener.py::test_socket_is_made_with_its_group_and_mode",),
            ),
            Mutant(
                "deploy/nsbrokerd.socket",
                "SocketMode=0660",
                "SocketMode=0666",
                ("tests/unit/deploy/test_files.py::test_socket_unit_and_configuration_mean_the_same_socket",),
            ),
        ),
    ),
    Guarantee(
        "socket-is-never-taken-over",
        (
            Mutant(
                "broker/nsbrokerd/service/listener.py",
                '    raise ListenError(f"another program listens on {path}: stop it, or use another path")\n',
                "    os.unlink(path)\n",
                ("tests/kernel/broker/service/test_lifecycle.py::test_another_programs_socket_is_not_taken",),
            ),
            Mutant(
                "broker/nsbrokerd/service/listener.py",
                "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
                "fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)",
                (
                    "tests/kernel/broker/service/test_lifecycle.py::test_second_broker_refuses_while_the_first_one_lives",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/service/listener.py",
                '            raise ListenError(f"{path} is no socket: remove it, or use another path")\n',
                "            os.unlink(path)\n            return\n",
                ("tests/kernel/broker/service/test_lifecycle.py::test_what_is_no_socket_stays_where_it_is",),
            ),
            Mutant(
                "broker/nsbrokerd/service/service_manager.py",
                "if found != (socket.AF_UNIX, socket.SOCK_SEQPACKET, 1):",
                "if found[0] < 0:",
                ("tests/kernel/broker/service/test_lifecycle.py::test_other_sockets_of_a_service_manager_are_refused",),
            ),
        ),
    ),
    Guarantee(
        "reload-is-whole",
        (
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "            expect_places(self._config_path, config, needs_socket=False)\n",
                "            self._in_force.policy = config.policy\n"
                "            expect_places(self._config_path, config, needs_socket=False)\n",
                (
                    "tests/kernel/broker/service/test_lifecycle.py::test_reload_whose_audit_cant_be_written_keeps_everything_as_it_was",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "                self._load_limits(config)\n                undo.pop_all()\n",
                "                undo.pop_all()\n"
                "                self._use(config, audit, hub)\n"
                "                self._load_limits(config)\n",
                (_RELOAD + "test_reload_whose_limits_cant_be_loaded_keeps_everything_as_it_was",),
            ),
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "            if needed or not is_new:\n",
                "            if needed:\n",
                (_RELOAD + "test_reload_that_can_not_look_at_sockets_in_use_fails_as_a_whole",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/running.py",
                "            put_back()\n",
                "            pass\n",
                (_RELOAD + "test_reload_that_can_not_look_at_sockets_in_use_fails_as_a_whole",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/writing.py",
                "        yield partial(bpf.empty_slot, maps.limits)  # ",
                "        yield lambda: None  # ",
                (_RELOAD + "test_first_limits_that_can_not_be_applied_leave_sealed_sockets_cut_off",),
            ),
            Mutant(
                "broker/nsbrokerd/config/parse.py",
                "    if any(problem.is_fatal for problem in problems):\n",
                "    if len(problems) > 9:\n",
                ("tests/kernel/broker/service/test_lifecycle.py::test_broken_reload_keeps_everything_as_it_was",),
            ),
        ),
    ),
    Guarantee(
        "stale-names-keep-no-one-out",
        (
            Mutant(
                "broker/nsbrokerd/config/grants.py",
                "            table.complain(key, told, is_fatal=False)\n",
                "            table.complain(key, told)\n",
                (SIGNALS + "test_grant_for_a_deleted_user_keeps_no_one_out",),
            ),
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                '        log.warning("left out", ',
                '        log.debug("left out", ',
                (SIGNALS + "test_grant_for_a_deleted_user_keeps_no_one_out",),
            ),
            Mutant(
                "broker/nsbrokerd/commands/check.py",
                "    problems = config.warnings\n",
                "    problems = ()\n",
                (SIGNALS + "test_grant_for_a_deleted_user_keeps_no_one_out",),
            ),
        ),
    ),
    Guarantee(
        "faults-are-shown",
        (
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                '            self._state.note(_RELOAD, f"failed',
                '            str(f"failed',
                (SIGNALS + "test_status_tells_of_a_failed_reload_until_one_succeeds",),
            ),
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "            self._state.note(_RELOAD, None)\n",
                "",
                (SIGNALS + "test_status_tells_of_a_failed_reload_until_one_succeeds",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/audit.py",
                "            self.fault = error.strerror\n",
                "",
                (SIGNALS + "test_audit_on_a_full_disk_is_refused_clearly_and_shown",),
            ),
        ),
    ),
    Guarantee(
        "lines-have-priorities",
        (
            Mutant(
                "broker/nsbrokerd/service/log.py",
                'prefix = f"<{priority}>" if self._has_priorities else ""',
                'prefix = ""',
                (SIGNALS + "test_lines_for_the_journal_have_priorities",),
            ),
            Mutant(
                "broker/nsbrokerd/service/audit_file.py",
                "has_priorities=path is None and is_journal(2, os.environ)",
                "has_priorities=False",
                (SIGNALS + "test_lines_for_the_journal_have_priorities",),
            ),
        ),
    ),
    Guarantee(
        "rotation-needs-no-reload",
        (
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "                            self._reopen_audit()\n",
                "                            self._reload(hub)\n",
                (SIGNALS + "test_sigusr1_opens_the_audit_anew_whatever_the_configuration_says",),
            ),
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                'so it goes on in the former file", reason=str(error))\n            return\n',
                'so it goes on in the former file", reason=str(error))\n            raise\n',
                (SIGNALS + "test_audit_that_cant_be_opened_anew_goes_on_in_the_former_file",),
            ),
        ),
    ),
    Guarantee(
        "loop-is-watched",
        (
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "            self._manager.alive()\n",
                "",
                (SIGNALS + "test_watchdog_hears_from_the_loop_again_and_again",),
            ),
        ),
    ),
    Guarantee(
        "reload-reaches-clients",
        (
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "self._in_force.replace(config.policy, self._new_opener(config), audit, finder)",
                "self._in_force.replace(self._in_force.policy, self._new_opener(config), audit, finder)",
                (
                    "tests/kernel/broker/service/test_lifecycle.py::test_reload_changes_the_policy_of_those_who_are_connected",
                ),
            ),
        ),
    ),
    Guarantee(
        "reload-reopens-the-audit",
        (
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "        former_audit = self._in_force.audit\n",
                "        former_audit, audit = audit, self._in_force.audit\n",
                ("tests/kernel/broker/service/test_lifecycle.py::test_audit_goes_on_in_a_new_file_after_a_reload",),
            ),
        ),
    ),
    Guarantee(
        "six-capabilities",
        (
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "drop_others(*(() if is_writable_by_owner() else (DAC_OVERRIDE,)))",
                "is_writable_by_owner()",
                ("tests/kernel/broker/sockets/test_capabilities.py::test_broker_keeps_what_it_needs_alone",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/capabilities.py",
                "    sets.permitted_low &= kept_mask\n",
                "",
                ("tests/kernel/broker/sockets/test_capabilities.py::test_broker_keeps_what_it_needs_alone",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/capabilities.py",
                "if _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:",
                "if number >= 0:",
                ("tests/kernel/broker/sockets/test_capabilities.py::test_broker_keeps_what_it_needs_alone",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/capabilities.py",
                "if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:",
                "if _PR_SET_NO_NEW_PRIVS == 0:",
                ("tests/kernel/broker/sockets/test_capabilities.py::test_broker_keeps_what_it_needs_alone",),
            ),
            Mutant(
                "deploy/nsbrokerd.service",
                "CapabilityBoundingSet=CAP_SYS_ADMIN ",
                "CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SYS_PTRACE ",
                ("tests/unit/deploy/test_files.py::test_unit_keeps_what_the_broker_needs",),
            ),
            Mutant(
                "deploy/nsbrokerd.service",
                "RestrictNamespaces=net",
                "RestrictNamespaces=no",
                ("tests/unit/deploy/test_files.py::test_unit_keeps_what_the_broker_needs",),
            ),
        ),
    ),
    Guarantee(
        "interrupts-wait",
        (
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)",
                "_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)",
                ("tests/kernel/broker/sockets/test_interrupts.py::test_broker_under_load_ends_cleanly_by_interrupt",),
            ),
        ),
    ),
    Guarantee(
        "log-can-fail",
        (
            Mutant(
                "broker/nsbrokerd/service/log.py",
                "with contextlib.suppress(OSError):",
                "with contextlib.suppress(KeyError):",
                ("tests/kernel/broker/service/test_lifecycle.py::test_broker_whose_log_cant_be_written_goes_on",),
            ),
        ),
    ),
    Guarantee(
        "unit-limits-no-sockets",
        (
            Mutant(
                "deploy/nsbrokerd.service",
                "Delegate=yes\n",
                "Delegate=yes\nMemoryMax=1G\n",
                ("tests/unit/deploy/test_files.py::test_unit_has_nothing_that_would_reach_handed_out_sockets",),
            ),
        ),
    ),
    Guarantee(
        "unit-keeps-the-audit",
        (
            Mutant(
                "deploy/nsbrokerd.service",
                "LogRateLimitIntervalSec=0",
                "LogRateLimitIntervalSec=30s",
                ("tests/unit/deploy/test_files.py::test_unit_does_not_drop_audit_records",),
            ),
        ),
    ),
    Guarantee(
        "service-starts-again",
        (
            Mutant(
                "deploy/nsbrokerd.service",
                "StartLimitIntervalSec=0",
                "StartLimitIntervalSec=10s",
                ("tests/unit/deploy/test_files.py::test_unit_is_started_again_whatever_happens",),
            ),
        ),
    ),
    Guarantee(
        "end-answers-requests",
        (
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "        end = self._clock() + _STOP_S\n",
                "        end = self._clock() - _STOP_S\n",
                ("tests/local/broker/serving/test_hub.py::test_packets_that_came_before_the_end_are_served",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/tasks.py",
                '        except OSError as error:\n            log.debug("client lost"',
                "        except trio.Cancelled:\n"
                '            self._dispatcher.reply(client, received.request, Refusal(OVERLOADED, "stopping"))\n'
                "            raise\n"
                '        except OSError as error:\n            log.debug("client lost"',
                ("tests/kernel/broker/service/test_restart.py::test_waiting_request_outlives_a_restart",),
            ),
        ),
    ),
    Guarantee(
        "names-control-no-terminal",
        (
            Mutant(
                "broker/nsbrokerd/service/log.py",
                "*([_make_printable, structlog.dev.ConsoleRenderer()] if",
                "*([structlog.dev.ConsoleRenderer()] if",
                ("tests/unit/broker/service/test_log_lines.py::test_terminal_gets_no_control_characters_of_values",),
            ),
            Mutant(
                "broker/nsbrokerd/commands/output.py",
                'return "".join(char if char.isprintable() else "?" for char in text)',
                "return text",
                ("tests/kernel/broker/requests/test_hostile_names.py::test_root_sees_no_name_as_it_is",),
            ),
            Mutant(
                "client/nsbroker/cli/messages.py",
                'return "".join(char if char.isprintable() else "?" for char in text)',
                "return text",
                ("tests/kernel/broker/requests/test_hostile_names.py::test_tool_shows_no_name_as_it_is",),
            ),
            Mutant(
                "client/nsbroker/cli/messages.py",
                'line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)',
                "line = message",
                ("tests/kernel/broker/requests/test_hostile_names.py::test_tool_shows_no_name_as_it_is",),
            ),
        ),
    ),
)
