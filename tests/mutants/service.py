"""The broker's room `service`, and the units: its socket, a reload, its rights, its end."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

GUARANTEES = (
    Guarantee(
        "socket-is-for-its-group",
        (
            Mutant(
                "broker/nsbrokerd/service/listener.py",
                "os.chmod(path, 0o660)",
                "os.chmod(path, 0o666)",
                (
                    "tests/kernel/broker/service/test_lifecycle.py::test_own_socket_is_for_its_group_and_goes_with_the_broker",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/service/listener.py",
                "os.chown(path, -1, gid, follow_symlinks=False)",
                "os.chown(path, -1, -1, follow_symlinks=False)",
                (
                    "tests/kernel/broker/service/test_lifecycle.py::test_own_socket_is_for_its_group_and_goes_with_the_broker",
                ),
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
                "                audit = Audit(config.audit_path)\n",
                "                self._in_force.policy = config.policy\n"
                "                audit = Audit(config.audit_path)\n",
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
                (
                    "tests/kernel/broker/seal/test_reload.py::test_reload_whose_limits_cant_be_loaded_keeps_everything_as_it_was",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/config/parse.py",
                "    if problems:\n        raise ConfigError(problems)\n",
                "    if len(problems) > 9:\n        raise ConfigError(problems)\n",
                ("tests/kernel/broker/service/test_lifecycle.py::test_broken_reload_keeps_everything_as_it_was",),
            ),
        ),
    ),
    Guarantee(
        "reload-reaches-clients",
        (
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "self._in_force.replace(config.policy, self._new_opener(config), audit)",
                "self._in_force.replace(self._in_force.policy, self._new_opener(config), audit)",
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
                "_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)",
                "_SIGNALS = (signal.SIGTERM, signal.SIGHUP)",
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
                "        while (events := self._epoll.poll(0)) and (now := time.monotonic()) < end:\n",
                "        while (events := self._epoll.poll(0)) and (now := time.monotonic()) < end - _STOP_S:\n",
                ("tests/local/broker/serving/test_hub.py::test_packets_that_came_before_the_end_are_served",),
            ),
        ),
    ),
)
