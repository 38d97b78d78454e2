"""The broker's room `control`, and the commands that use it: status, health, reload, sockets, revoke."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

SERVER = "tests/local/broker/control/test_server.py::"
CONTROL = "tests/kernel/broker/control/test_control.py::"
UNLIMITED = "tests/kernel/broker/commands/test_unlimited.py::"

GUARANTEES = (
    Guarantee(
        "only-root-reloads",
        (
            Mutant(
                "broker/nsbrokerd/control/server.py",
                "if request.word in FOR_ROOT and uid != 0:",
                "if request.word in FOR_ROOT and uid < 0:",
                (SERVER + "test_only_root_may_change_something", CONTROL + "test_only_root_reloads"),
            ),
            Mutant(
                "broker/nsbrokerd/control/packets.py",
                "FOR_ROOT = frozenset({RELOAD, SOCKETS})",
                "FOR_ROOT = frozenset({RELOAD})",
                (SERVER + "test_only_root_may_change_something", CONTROL + "test_only_root_reloads"),
            ),
            Mutant(
                "broker/nsbrokerd/service/listener.py",
                "mode = 0o600 if gid is None else 0o660",
                "mode = 0o660",
                (CONTROL + "test_socket_of_a_broker_started_by_hand_is_for_root_alone",),
            ),
            Mutant(
                "deploy/nsbrokerd-control.socket",
                "SocketMode=0660",
                "SocketMode=0666",
                ("tests/unit/deploy/test_files.py::test_control_socket_is_for_the_group_of_the_status",),
            ),
        ),
    ),
    Guarantee(
        "status-holds-up-nobody",
        (
            Mutant(
                "broker/nsbrokerd/control/server.py",
                "        if now >= self._kept_until:\n",
                "        if now >= 0:\n",
                (SERVER + "test_status_is_made_once_for_all_who_ask",),
            ),
            Mutant(
                "broker/nsbrokerd/control/server.py",
                "                await trio.sleep(_ACCEPT_PAUSE_S)\n",
                "",
                (SERVER + "test_connections_are_accepted_a_few_at_a_time",),
            ),
            Mutant(
                "broker/nsbrokerd/control/server.py",
                "        if self._connections[person] >= CONNECTIONS_OF_USER:\n",
                "        if self._connections[person] >= 1000:\n",
                (SERVER + "test_user_who_reads_no_replies_holds_up_nobody_else",),
            ),
            Mutant(
                "broker/nsbrokerd/control/server.py",
                "        while queued_bytes(fd):\n",
                "        while False:\n",
                (SERVER + "test_user_who_reads_no_replies_holds_up_nobody_else",),
            ),
            Mutant(
                "broker/nsbrokerd/control/server.py",
                "        return uid == 0 or self._connections.total()",
                "        return self._connections.total()",
                (SERVER + "test_root_is_served_however_many_others_there_are",),
            ),
            Mutant(
                "broker/nsbrokerd/control/server.py",
                "        with trio.move_on_after(_REQUEST_S):\n",
                "        with trio.move_on_after(1e6):\n",
                (SERVER + "test_connection_without_a_request_ends",),
            ),
            Mutant(
                "broker/nsbrokerd/control/server.py",
                "request = None if is_longer or brings_fds else decode_request(packet)",
                "request = None if is_longer else decode_request(packet)",
                (SERVER + "test_unknown_packets_are_refused",),
            ),
        ),
    ),
    Guarantee(
        "status-is-bounded",
        (
            Mutant(
                "broker/nsbrokerd/requests/tally.py",
                "        if of_user >= MOST_ROWS_OF_USER or (of_user and len(self.rows) >= MOST_ROWS):\n",
                "        if of_user and len(self.rows) >= MOST_ROWS:\n",
                ("tests/unit/broker/requests/test_tally.py::test_rows_of_one_user_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/tally.py",
                "        if len(self.rows) >= MOST_ROWS:\n",
                "        if len(self.rows) >= 10**6:\n",
                ("tests/unit/broker/requests/test_tally.py::test_rows_of_all_users_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/handed_out.py",
                "deque(maxlen=MOST_OF_PERSON)",
                "deque(maxlen=MOST)",
                ("tests/unit/broker/requests/test_handed_out.py::test_person_with_many_loses_its_own_oldest_ones",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/handed_out.py",
                "        if self._count > MOST:\n",
                "        if self._count > 10**9:\n",
                ("tests/unit/broker/requests/test_handed_out.py::test_sockets_of_all_persons_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/handed_out.py",
                "person = max((latest, ",
                "person = min((latest, ",
                ("tests/unit/broker/requests/test_handed_out.py::test_sockets_of_all_persons_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/handed_out.py",
                "max((latest, *islice(self._of, _COMPARED)), ",
                "max(islice(self._of, _COMPARED), ",
                (
                    "tests/unit/broker/requests/test_handed_out.py"
                    "::test_person_that_came_after_many_others_loses_its_own_oldest_ones",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/control/server.py",
                "            if len(self._kept) > MAX_REPLY_BYTES:\n",
                "            if not self._kept:\n",
                (SERVER + "test_status_that_is_too_long_has_no_tables",),
            ),
        ),
    ),
    Guarantee(
        "health-is-true",
        (
            Mutant(
                "broker/nsbrokerd/commands/health.py",
                "_FAULTY, _UNREACHABLE = 1, 2",
                "_FAULTY, _UNREACHABLE = 0, 2",
                (CONTROL + "test_health_is_one_line_and_a_status",),
            ),
            Mutant(
                "broker/nsbrokerd/commands/health.py",
                "_FAULTY, _UNREACHABLE = 1, 2",
                "_FAULTY, _UNREACHABLE = 1, 0",
                (CONTROL + "test_hanging_broker_is_not_healthy",),
            ),
            Mutant(
                "broker/nsbrokerd/commands/health.py",
                "TIMEOUT_S = 1.5\n",
                "TIMEOUT_S = 5.0\n",
                (CONTROL + "test_hanging_broker_is_not_healthy",),
            ),
            Mutant(
                "broker/nsbrokerd/service/status.py",
                '            "faults": state.faults,\n',
                '            "faults": {},\n',
                (CONTROL + "test_health_is_one_line_and_a_status",),
            ),
        ),
    ),
    Guarantee(
        "reload-tells-its-outcome",
        (
            Mutant(
                "broker/nsbrokerd/control/server.py",
                '            self._kept_until = float("-inf")\n            return',
                "            return",
                (SERVER + "test_status_after_a_reload_is_a_new_one",),
            ),
            Mutant(
                "broker/nsbrokerd/commands/reload.py",
                'stays in force", file=sys.stderr)\n        return 1\n',
                'stays in force", file=sys.stderr)\n        return 0\n',
                (CONTROL + "test_reload_waits_for_its_outcome",),
            ),
            Mutant(
                "broker/nsbrokerd/service/status.py",
                "        if problems:\n",
                "        if not problems:\n",
                (CONTROL + "test_reload_waits_for_its_outcome",),
            ),
            Mutant(
                "deploy/nsbrokerd.service",
                "ExecReload=/opt/nsbroker/bin/nsbrokerd reload",
                "ExecReload=/bin/kill -HUP $MAINPID",
                ("tests/unit/deploy/test_files.py::test_systemctl_reload_waits_for_the_outcome",),
            ),
        ),
    ),
    Guarantee(
        "revoke-tells-what-it-leaves",
        (
            Mutant(
                "broker/nsbrokerd/commands/revoke.py",
                "    return 0 if count and not left.sockets and not unstopped else 1\n",
                "    return 0\n",
                (UNLIMITED + "test_revoke_names_what_it_cant_stop",),
            ),
            Mutant(
                "broker/nsbrokerd/commands/unlimited.py",
                "    chosen = [one for one in handed_out if _matches(one, wanted)]\n",
                "    chosen = handed_out\n",
                (UNLIMITED + "test_revoke_names_what_it_cant_stop",),
            ),
            Mutant(
                "broker/nsbrokerd/commands/unlimited.py",
                "            if inode:  #",
                "            if True:  #",
                (UNLIMITED + "test_closed_socket_whose_connection_the_kernel_still_knows_is_not_listed",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/tally.py",
                "                if grant.limit is None:\n",
                "                if grant.limit is not None:\n",
                (UNLIMITED + "test_revoke_names_what_it_cant_stop",),
            ),
            Mutant(
                "broker/nsbrokerd/commands/unlimited.py",
                "        live[inode].pids.append(pid)\n",
                "        pass\n",
                (UNLIMITED + "test_revoke_names_what_it_cant_stop",),
            ),
        ),
    ),
)
