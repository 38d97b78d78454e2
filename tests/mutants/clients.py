"""The broker's rooms `clients` and `serving`: who a client is, quotas, turns, and what a hostile client can't do."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

QUOTAS = "tests/kernel/broker/clients/test_quotas.py::"
LINES = "tests/unit/broker/service/test_line_quota.py::"
AUDIT = "tests/kernel/broker/requests/test_audit.py::"

GUARANTEES = (
    Guarantee(
        "overflow-uid-is-nobody",
        (
            Mutant(
                "broker/nsbrokerd/clients/peer.py",
                "if uid == untrusted_uid:",
                "if uid < 0:",
                ("tests/unit/broker/clients/test_peer.py::test_uid_that_stands_for_many_users_is_nobodys",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/sent_descriptors.py",
                "return uid != self._overflow_uid and ",
                "return ",
                ("tests/kernel/broker/namespaces/test_own.py::test_namespace_of_the_user_without_an_id_is_denied",),
            ),
        ),
    ),
    Guarantee(
        "groups-count",
        (
            Mutant(
                "broker/nsbrokerd/clients/peer.py",
                "Subject(uid, _read_groups(connection) | {gid})",
                "Subject(uid, frozenset({gid}))",
                ("tests/kernel/broker/policy/test_refusals.py::test_grant_is_for_its_group",),
            ),
        ),
    ),
    Guarantee(
        "quota-of-connections",
        (
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "has_room = users.clients < users.quotas.clients and ",
                "has_room = ",
                (
                    "tests/local/broker/clients/test_admission.py::test_client_beyond_the_quota_of_all_is_told_and_closed",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "if user.clients >= self.quotas.clients_per_user:",
                "if user.clients < 0:",
                (
                    "tests/unit/broker/clients/test_user_quotas.py::test_a_user_gets_its_share_of_clients_and_others_still_get_theirs",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                " and held + DESCRIPTORS_FOR_CLIENT + 1 <= self._most_held",
                "",
                (
                    "tests/local/broker/serving/test_hub_trouble.py::test_places_of_users_are_counted_where_descriptors_are_few",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "            users.leave(user)\n",
                "",
                (
                    "tests/local/broker/serving/test_hub_trouble.py::test_client_that_is_lost_while_it_connects_is_not_counted",
                ),
            ),
        ),
    ),
    Guarantee(
        "quota-of-requests",
        (
            Mutant(
                "broker/nsbrokerd/clients/client.py",
                "        if self.allowance < 1:\n",
                "        if self.allowance < -1e9:\n",
                (
                    "tests/unit/broker/clients/test_user_quotas.py::test_a_rate_is_granted_for_a_second_and_then_refilled",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/client.py",
                "self.allowance = min(rate * BURST_S, self.allowance + (now - self.refilled_at) * rate)",
                "self.allowance = self.allowance + (now - self.refilled_at) * rate",
                ("tests/unit/broker/clients/test_user_quotas.py::test_an_allowance_never_grows_past_a_second_of_it",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "user = self._by_uid.get(uid)",
                "user = self._by_uid.get(uid) if self.connected else None",
                ("tests/unit/broker/clients/test_user_quotas.py::test_coming_back_does_not_refill_an_allowance",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/intake.py",
                "fdpass.peek_packet(client.sock, quotas.packet_bytes)",
                "fdpass.peek_packet(client.sock, 65536)",
                ("tests/kernel/broker/clients/test_quotas.py::test_packet_beyond_the_limit_is_a_bad_request",),
            ),
        ),
    ),
    Guarantee(
        "quota-of-waiting",
        (
            Mutant(
                "broker/nsbrokerd/serving/tasks.py",
                "if user.tasks[operation.name] >= operation.tasks_for_user:",
                "if user.tasks[operation.name] < 0:",
                ("tests/local/broker/serving/test_tasks.py::test_tasks_of_one_user_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/namespaces.py",
                "tasks_for_user = MAX_LISTING_FOR_USER",
                "tasks_for_user = 100 * MAX_LISTING_FOR_USER",
                ("tests/local/broker/serving/test_tasks.py::test_tasks_of_one_user_are_bounded",),
            ),
        ),
    ),
    Guarantee(
        "excess-does-not-fill-the-audit",
        (
            Mutant(
                "broker/nsbrokerd/clients/client.py",
                "return self._recorded_refusals <= RECORDED_REFUSALS\n",
                "return True\n",
                (
                    "tests/unit/broker/clients/test_user_quotas.py::test_refusals_past_their_rate_get_no_record",
                    QUOTAS + "test_refusals_do_not_fill_the_audit",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/client.py",
                "            self._recorded_refusals = 0\n",
                "            pass\n",
                ("tests/unit/broker/clients/test_user_quotas.py::test_refusals_past_their_rate_get_no_record",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "if is_recorded and user.take_record(time.monotonic()):",
                "if user.take_record(time.monotonic()):",
                (QUOTAS + "test_requests_past_the_rate_do_not_fill_the_audit",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "Counted(1 + (former.number if former else 0), client.peer, refusal)",
                "Counted(1, client.peer, refusal)",
                (QUOTAS + "test_refusals_do_not_fill_the_audit",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "        self._intake.record_counted()\n        for client in list",
                "        for client in list",
                (AUDIT + "test_refusals_that_were_counted_are_recorded_at_the_end",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/client.py",
                "self.allowance -= max(0, record_bytes - RECORD_BYTES) / RECORD_BYTES",
                "self.allowance -= record_bytes < 0",
                ("tests/unit/broker/clients/test_user_quotas.py::test_long_records_count_as_requests",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "            if size > RECORD_BYTES:\n                client.user.charge_record(size)\n",
                "",
                ("tests/unit/broker/requests/test_dispatch.py::test_long_records_are_charged",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "                user.charge_record(size)\n        else:",
                "        else:",
                ("tests/unit/broker/requests/test_dispatch.py::test_long_records_are_charged",),
            ),
        ),
    ),
    Guarantee(
        "clients-do-not-fill-the-log",
        (
            Mutant(
                "broker/nsbrokerd/service/log.py",
                "            line_quota,\n",
                "",
                (QUOTAS + "test_connections_past_the_quota_do_not_fill_the_log",),
            ),
            Mutant(
                "broker/nsbrokerd/service/line_quota.py",
                "if self._kept >= MOST_FOR_ALL or self._kept_of_user[uid] >= MOST_FOR_USER:",
                "if self._kept_of_user[uid] >= MOST_FOR_USER:",
                (LINES + "test_lines_of_all_users_are_few_in_each_second",),
            ),
            Mutant(
                "broker/nsbrokerd/service/line_quota.py",
                "if self._kept >= MOST_FOR_ALL or self._kept_of_user[uid] >= MOST_FOR_USER:",
                "if self._kept >= MOST_FOR_ALL:",
                (LINES + "test_lines_of_a_user_are_few_in_each_second",),
            ),
            Mutant(
                "broker/nsbrokerd/service/line_quota.py",
                "            key = *key[:2], None\n",
                "            pass\n",
                (LINES + "test_numbers_are_few_as_well",),
            ),
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "                    nursery.start_soon(_report_lines)\n",
                "",
                (QUOTAS + "test_connections_past_the_quota_do_not_fill_the_log",),
            ),
        ),
    ),
    Guarantee(
        "bounded-memory",
        (
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "            self._users.forget_idle(now)\n",
                "",
                ("tests/local/broker/serving/test_hub.py::test_user_that_is_gone_is_forgotten",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                "if len(self._memo) >= _MAX_MEMO_ENTRIES:",
                "if len(self._memo) < 0:",
                ("tests/unit/broker/policy/test_decide.py::test_what_clients_choose_takes_little_memory",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                "if len(self._share_of) >= _MAX_SUBJECTS:",
                "if len(self._share_of) < 0:",
                ("tests/unit/broker/policy/test_decide.py::test_what_clients_choose_takes_little_memory",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "if self._count >= _MAX_REMEMBERED or len(self._known) >= _MAX_REMEMBERED_SUBJECTS:",
                "if len(self._known) >= _MAX_REMEMBERED_SUBJECTS:",
                ("tests/unit/broker/requests/test_plan_memory.py::test_number_of_remembered_requests_is_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "if self._count >= _MAX_REMEMBERED or len(self._known) >= _MAX_REMEMBERED_SUBJECTS:",
                "if self._count >= _MAX_REMEMBERED:",
                ("tests/unit/broker/requests/test_plan_memory.py::test_number_of_remembered_subjects_is_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/netns.py",
                "if len(self._entered) >= _MAX_ENTERED:",
                "if len(self._entered) < 0:",
                ("tests/kernel/broker/namespaces/test_netns.py::test_number_of_remembered_namespaces_is_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/writing.py",
                "if len(known | set(names)) > MAX_GRANTS:",
                "if len(known | set(names)) < 0:",
                ("tests/kernel/broker/seal/test_volume.py::test_names_of_former_grants_make_room",),
            ),
        ),
    ),
    Guarantee(
        "users-take-turns",
        (
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "for fd, event in self.epoll.poll(0, 1)]",
                "for fd, event in self.epoll.poll(0)]",
                ("tests/local/broker/serving/test_hub.py::test_users_that_always_have_a_request_take_turns",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "for fd, event in self.epoll.poll(0, 1)]",
                "for fd, event in self.epoll.poll(0)[:1]]",
                ("tests/local/broker/serving/test_hub.py::test_connections_that_always_have_a_request_take_turns",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "else _PATIENCE_S, 1):",
                "else _PATIENCE_S):",
                ("tests/local/broker/serving/test_hub.py::test_users_that_always_have_a_request_take_turns",),
            ),
        ),
    ),
    Guarantee(
        "unread-replies-are-bounded",
        (
            Mutant(
                "broker/nsbrokerd/clients/client.py",
                "        return self._unread_bytes < self._most_unread_bytes\n\n    def refuse",
                "        return self._unread_bytes >= 0\n\n    def refuse",
                (
                    "tests/local/broker/clients/test_client.py::test_client_that_the_kernel_calls_writable_reads_its_replies",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "for client in [one for one in self._blocked if (one.blocked_since or now) < deadline]:",
                "for client in [one for one in self._blocked if (one.blocked_since or now) < 0]:",
                ("tests/local/broker/serving/test_hub.py::test_client_that_does_not_read_is_dropped",),
            ),
        ),
    ),
    Guarantee(
        "close-means-closed",
        (
            Mutant(
                "broker/nsbrokerd/clients/channel.py",
                "            for file in files:\n                file.close()\n",
                '            __import__("threading").Timer(0, lambda: [file.close() for file in files]).start()\n',
                (
                    "tests/kernel/client/link/test_close.py::test_socket_is_gone_after_its_close",
                    "tests/kernel/client/link/test_close.py::test_sockets_of_a_batch_are_gone_as_well",
                ),
            ),
        ),
    ),
    Guarantee(
        "channel-is-the-brokers",
        (
            Mutant(
                "broker/nsbrokerd/clients/channel.py",
                "        self._end.shutdown(socket.SHUT_RD)\n",
                "",
                ("tests/local/broker/clients/test_channel.py::test_client_can_send_nothing_on_the_channel",),
            ),
        ),
    ),
    Guarantee(
        "untaken-descriptors-are-bounded",
        (
            Mutant(
                "broker/nsbrokerd/clients/client.py",
                "self._channel.untaken_bytes() > self._most_unread_bytes + _SLACK_BYTES:",
                "self._channel.untaken_bytes() > 2**30:",
                (
                    "tests/local/broker/clients/test_channel.py::test_client_that_leaves_its_descriptors_is_found_out_before_they_are_many",
                    "tests/kernel/broker/clients/test_channel.py::test_client_that_leaves_its_descriptors_is_told_and_dropped",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/client.py",
                "_SLACK_BYTES = 2 * _PACKET_OVERHEAD_BYTES",
                "_SLACK_BYTES = -12 * _PACKET_OVERHEAD_BYTES",
                (
                    "tests/local/broker/clients/test_channel.py::test_client_that_asks_ahead_is_served_as_long_as_it_takes_its_descriptors",
                ),
            ),
        ),
    ),
    Guarantee(
        "hostile-descriptors",
        (
            Mutant(
                "broker/nsbrokerd/clients/closer.py",
                "        for fd in fds:\n            self._put(_LaneName(uid, False), fd)\n",
                "        for fd in fds:\n            self._close(fd)\n",
                ("tests/unit/broker/clients/test_closer.py::test_descriptors_are_closed_in_another_thread",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/closer.py",
                "return len(lane.fds) >= MAX_PENDING_FOR_USER",
                "return len(lane.fds) < 0",
                (
                    "tests/unit/broker/clients/test_closer.py::test_a_user_whose_descriptors_hang_is_full_and_others_are_not",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/closer.py",
                "return sum(not name.has_connections for name in self._lanes) >= MAX_LANES",
                "return len(self._lanes) < 0",
                (
                    "tests/unit/broker/clients/test_closer.py::test_descriptors_of_many_users_that_hang_are_bounded_together",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "if self._closer.connections >= self._most_hanging:",
                "if self._closer.connections < 0:",
                (
                    "tests/local/broker/serving/test_hub_trouble.py::test_hub_that_paused_accepts_again_though_there_is_no_other_watch",
                ),
            ),
        ),
    ),
    Guarantee(
        "sent-descriptors-are-named",
        (
            Mutant(
                "broker/nsbrokerd/serving/intake.py",
                "        if more_came:\n",
                "        if more_came is None:\n",
                (
                    "tests/kernel/broker/clients/test_foreign_descriptors.py::test_descriptors_that_nobody_asked_for_end_the_connection",
                ),
            ),
            Mutant(
                "client/nsbroker/wire/codec.py",
                "if named and named != set(range(len(named))):",
                "if named and 0 not in named:",
                (
                    "tests/unit/client/wire/test_errors_and_costs.py::test_gap_in_the_descriptors_is_refused_with_the_id",
                ),
            ),
        ),
    ),
    Guarantee(
        "unreadable-requests",
        (
            Mutant(
                "broker/nsbrokerd/serving/intake.py",
                "return request_id is not None",
                "return request_id is None or True",
                (
                    "tests/kernel/broker/requests/test_bad_packets.py::test_client_that_cant_be_followed_is_answered_and_dropped",
                ),
            ),
        ),
    ),
    Guarantee(
        "waiting-ends",
        (
            Mutant(
                "broker/nsbrokerd/serving/tasks.py",
                "    return not client.is_closed\n",
                "    return client is not None\n",
                ("tests/local/broker/serving/test_tasks.py::test_request_of_a_client_that_is_gone_waits_no_longer",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "if not _is_namespace_missing(outcome) or trio.current_time() >= deadline:",
                "if not _is_namespace_missing(outcome):",
                ("tests/local/broker/serving/test_tasks.py::test_request_waits_as_long_as_it_asked_to",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "    return isinstance(outcome, Refusal) and outcome.code == NO_SUCH_NAMESPACE\n",
                "    return isinstance(outcome, Refusal)\n",
                ("tests/local/broker/serving/test_tasks.py::test_request_that_is_denied_meanwhile_waits_no_longer",),
            ),
            Mutant(
                "client/nsbroker/wire/codec.py",
                "not math.isfinite(value) or not 0 <= value <= MAX_WAIT_S:",
                "not math.isfinite(value) or value < 0:",
                ("tests/unit/client/wire/test_vectors.py::test_request",),
            ),
        ),
    ),
)
