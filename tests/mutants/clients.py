"""The broker's rooms `clients` and `serving`: who a client is, quotas, turns, and what a hostile client can't do."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

QUOTAS = "tests/kernel/broker/clients/test_quotas.py::"
LINES = "tests/unit/broker/service/test_line_quota.py::"
ADMISSION = "tests/local/broker/clients/test_admission.py::"
ARRIVALS = "tests/unit/broker/clients/test_arrivals.py::"
CLOSER = "tests/unit/broker/clients/test_closer.py::"
PORTER = "tests/local/broker/clients/test_porter.py::"
PORTERS = "tests/local/broker/clients/test_porters.py::"
PARALLEL = "tests/local/broker/clients/test_parallel_close.py::"
HANGING = "tests/kernel/broker/clients/test_hanging_porter.py::"
HANGING_MEMORY = "tests/kernel/broker/clients/test_hanging_memory.py::"
TASKS = "tests/local/broker/serving/test_tasks.py::"
PERSONS = "tests/unit/broker/clients/test_person_quotas.py::"
MANY_UIDS = "tests/kernel/broker/clients/test_persons.py::"
SUBORDINATE = "tests/unit/broker/clients/test_subordinate_ids.py::"
DELEGATION_FILES = "tests/unit/broker/config/test_delegation_files.py::"
ANSWERS = "tests/unit/broker/requests/test_answers.py::"
CHANNEL = "tests/local/broker/clients/test_channel.py::"
OPENER = "tests/unit/broker/sockets/test_opener.py::"
SLOW = "tests/unit/broker/sockets/test_slow_binds.py::"
STEPS = "tests/unit/broker/sockets/test_opener_steps.py::"
SLICE = "tests/unit/broker/sockets/test_time_slice.py::"
OPENING = "tests/unit/broker/requests/test_steps.py::"
LONG = "tests/unit/client/wire/test_long_requests.py::"
CUT = "tests/local/broker/serving/test_hub_cut.py::"
GARBAGE = "tests/kernel/broker/serving/test_large_requests.py::"
NEW_HUB = "tests/local/broker/serving/test_new_hub.py::"
HUB = "tests/local/broker/serving/test_hub.py::"
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
        "identity-is-of-the-connect",
        (
            Mutant(
                "broker/nsbrokerd/clients/peer.py",
                "    if uid == untrusted_uid:\n",
                '    uid = Path(f"/proc/{pid}").stat().st_uid\n    if uid == untrusted_uid:\n',
                ("tests/kernel/broker/clients/test_identity.py::test_ids_at_the_connect_count",),
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
                "has_room = persons.clients < persons.quotas.clients and ",
                "has_room = ",
                (
                    "tests/local/broker/clients/test_admission.py::test_client_beyond_the_quota_of_all_is_told_and_closed",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/persons.py",
                "if person.clients + person.closing >= self.quotas.clients_per_user:",
                "if person.clients < 0:",
                (
                    "tests/unit/broker/clients/test_person_quotas.py::test_a_user_gets_its_share_of_clients_and_others_still_get_theirs",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                " and needed <= self._most_held",
                "",
                (
                    "tests/local/broker/serving/test_hub_trouble.py::test_places_of_users_are_counted_where_descriptors_are_few",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "            persons.leave(admitted)\n",
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
                    "tests/unit/broker/clients/test_person_quotas.py::test_a_rate_is_granted_for_a_second_and_then_refilled",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/client.py",
                "self.allowance = min(rate * BURST_S, self.allowance + (now - self.refilled_at) * rate)",
                "self.allowance = self.allowance + (now - self.refilled_at) * rate",
                ("tests/unit/broker/clients/test_person_quotas.py::test_an_allowance_never_grows_past_a_second_of_it",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/persons.py",
                "person = self._by_uid.get(key)\n        if person is None and",
                "person = self._by_uid.get(key) if self.connected else None\n        if person is None and",
                ("tests/unit/broker/clients/test_person_quotas.py::test_coming_back_does_not_refill_an_allowance",),
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
                "if person.tasks[name] + amount > for_user:",
                "if person.tasks[name] + amount < 0:",
                ("tests/local/broker/serving/test_tasks.py::test_tasks_of_one_user_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/namespaces.py",
                "tasks_for_user = MAX_LISTING_FOR_USER",
                "tasks_for_user = 100 * MAX_LISTING_FOR_USER",
                ("tests/local/broker/serving/test_tasks.py::test_tasks_of_one_user_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/pools.py",
                "if taken > self.most:",
                "if taken < 0:",
                (TASKS + "test_tasks_of_all_persons_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/tasks.py",
                " (self._descriptors, descriptors),",
                "",
                (
                    TASKS + "test_tasks_of_all_persons_are_bounded",
                    "tests/kernel/broker/serving/test_waiting.py::test_waiting_requests_of_all_users_are_bounded",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/serving/tasks.py",
                ", (self._bytes, size)",
                "",
                (TASKS + "test_tasks_of_all_persons_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/pools.py",
                "        del self._parts[person]\n",
                "        pass\n",
                ("tests/unit/broker/clients/test_pools.py::test_persons_without_a_part_are_forgotten",),
            ),
        ),
    ),
    Guarantee(
        "waiting-costs-nothing",
        (
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "            if missing is not None and not is_over:\n",
                "            if missing is not None and not is_over and is_answerable.is_gone():\n",
                (TASKS + "test_request_waits_as_long_as_it_asked_to",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "            tried = found\n",
                "            pass\n",
                (TASKS + "test_namespace_that_is_of_no_use_is_tried_once",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/awaited_names.py",
                "                        await trio.lowlevel.checkpoint()\n",
                "                        pass\n",
                (TASKS + "test_requests_that_can_go_on_do_so_one_after_the_other",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/tasks.py",
                "        self._tasks.running -= 1\n",
                "        pass\n",
                (TASKS + "test_waiting_request_does_not_keep_the_hub_busy",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/tasks.py",
                "            charge(time.monotonic() - began)\n",
                "            pass\n",
                (TASKS + "test_task_is_charged_to_its_person",),
            ),
        ),
    ),
    Guarantee(
        "waiting-is-woken",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/awaited_names.py",
                "changes = MountChanges()",
                "changes = None",
                ("tests/kernel/broker/namespaces/test_awaited_names.py::test_a_mount_wakes_the_watch",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/awaited_names.py",
                "self._look_at = min(self._look_at, 0.0 if is_there else deadline)",
                "self._look_at = min(self._look_at, deadline)",
                (
                    "tests/kernel/broker/namespaces/test_awaited_names.py::test_a_namespace_that_came_just_before_is_noticed",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/awaited_names.py",
                "self._look_at = now + LOOK_S",
                "self._look_at = now + 1e6",
                (TASKS + "test_request_waits_until_all_of_its_namespaces_exist",),
            ),
        ),
    ),
    Guarantee(
        "answers-are-bounded",
        (
            Mutant(
                "broker/nsbrokerd/requests/answers.py",
                "        share.bytes += held.bytes\n",
                "",
                (
                    ANSWERS + "test_answers_of_a_person_are_bounded",
                    "tests/kernel/broker/requests/test_answers.py::test_answers_that_a_client_holds_are_bounded",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/requests/answers.py",
                "            if is_equal:\n                return file, number\n",
                "            if file is None:\n                return file, number\n",
                (
                    ANSWERS + "test_equal_answers_of_a_person_share_their_memory",
                    "tests/kernel/broker/requests/test_answers.py::test_answers_that_a_client_holds_are_bounded",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/requests/answers.py",
                "        except OSError:\n            return True\n",
                "        except OSError:\n            return False\n",
                (
                    ANSWERS + "test_answers_of_a_person_are_bounded",
                    "tests/kernel/broker/requests/test_answers.py::test_reconnecting_does_not_free_answers",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/requests/answers.py",
                "        more += self._lost + self._being_made\n",
                "        more += self._lost\n",
                (ANSWERS + "test_answers_that_are_being_made_count_for_all_persons",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/answers.py",
                "return _has_room(shares, more, MAX_HELD, MAX_HELD_BYTES)",
                "return bool(shares) or not shares",
                (ANSWERS + "test_answers_of_all_persons_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/answers.py",
                "else max(0, measured - known - self._being_made)",
                "else 0",
                (
                    ANSWERS + "test_memory_that_clients_keep_unseen_counts",
                    "tests/kernel/broker/requests/test_answers.py::test_memory_that_clients_keep_unseen_is_bounded",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/requests/group_memory.py",
                "return None if others else ",
                "return ",
                ("tests/unit/broker/requests/test_group_memory.py::test_group_with_other_processes_says_nothing",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/operation.py",
                "    if len(data) > MAX_ANSWER_BYTES:\n",
                "    if len(data) < 0:\n",
                (ANSWERS + "test_long_answer_is_refused",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "        self.answers.release_unused()\n",
                "",
                (
                    "tests/unit/broker/requests/test_dispatch.py::test_answers_that_nobody_holds_are_forgotten_each_second",
                ),
            ),
        ),
    ),
    Guarantee(
        "persons-are-users",
        (
            Mutant(
                "broker/nsbrokerd/clients/persons.py",
                "return uid if self._owners is None else self._owners.person_of(uid)",
                "return uid",
                (
                    PERSONS + "test_all_uids_of_a_user_are_one_person",
                    MANY_UIDS + "test_subordinate_uids_count_as_their_user",
                ),
            ),
            Mutant(
                "deploy/container/nsbroker.container",
                "Volume=/etc/subuid:/etc/subuid:ro\n",
                "",
                ("tests/unit/deploy/test_files.py::test_broker_in_a_container_knows_the_users_of_the_host",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/subordinate_ids.py",
                "        if number in self._own:\n",
                "        if number in ():\n",
                (SUBORDINATE + "test_a_users_own_uid_is_never_another_persons",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/subordinate_ids.py",
                "next(iter(active), None) if len(active) < 2 else _SEVERAL",
                "next(iter(active), None)",
                (SUBORDINATE + "test_ids_of_several_users_are_one_more_person",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/subordinate_ids.py",
                "    return uid or name\n",
                "    return name if uid is None else uid\n",
                (SUBORDINATE + "test_lines_of_no_user_but_root_are_one_person",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/persons.py",
                "        self._refresh(now)\n",
                "        pass\n",
                (PERSONS + "test_delegations_are_read_again_each_second",),
            ),
        ),
    ),
    Guarantee(
        "delegations-are-roots",
        (
            Mutant(
                "broker/nsbrokerd/config/delegation_files.py",
                "return read_bytes(path, MAX_FILE_BYTES).decode(",
                "return path.read_bytes().decode(",
                (
                    DELEGATION_FILES + "test_bad_file_leaves_the_last_good_ones_in_force",
                    MANY_UIDS + "test_bad_file_makes_one_person_of_all_that_are_no_users",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/config/delegation_files.py",
                "parse_ids(passwd, subuid=EVERYBODY)",
                "parse_ids(passwd)",
                (
                    DELEGATION_FILES + "test_without_users_all_but_root_are_one_person",
                    MANY_UIDS + "test_bad_file_makes_one_person_of_all_that_are_no_users",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/subordinate_ids.py",
                "            if len(ranges) > MAX_RANGES:\n",
                "            if len(ranges) < 0:\n",
                (SUBORDINATE + "test_too_many_lines_are_refused",),
            ),
        ),
    ),
    Guarantee(
        "named-persons-find-room",
        (
            Mutant(
                "broker/nsbrokerd/clients/persons.py",
                "            if not person.is_named and not self._has_room_for_unnamed():\n",
                "            if person.clients < 0:\n",
                (
                    PERSONS + "test_unnamed_persons_get_half_of_the_clients",
                    MANY_UIDS + "test_person_that_a_grant_names_finds_room",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/persons.py",
                "self._unnamed_clients < most and held + 3 <= max(3, self.most_descriptors // 2)",
                "self._unnamed_clients < most",
                (PERSONS + "test_unnamed_persons_get_half_of_the_descriptors",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/pools.py",
                "            if unnamed + amount > self.most // 2:\n",
                "            if unnamed < 0:\n",
                (
                    TASKS + "test_tasks_of_all_persons_are_bounded",
                    "tests/kernel/broker/serving/test_waiting.py::test_waiting_requests_of_all_users_are_bounded",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/requests/answers.py",
                "            if not _has_room(unnamed, more, MAX_HELD // 2, MAX_HELD_BYTES // 2):\n",
                "            if not unnamed and unnamed:\n",
                (
                    ANSWERS + "test_answers_of_all_persons_are_bounded",
                    "tests/kernel/broker/requests/test_answers.py::test_memory_that_clients_keep_unseen_is_bounded",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/policy/naming.py",
                "frozenset(groups - {socket_gid})",
                "frozenset(groups)",
                (PERSONS + "test_a_grant_for_everyone_names_nobody_but_root",),
            ),
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "        self._persons.use_naming(_naming(config))\n",
                "",
                (MANY_UIDS + "test_a_reload_names_other_persons",),
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
                    "tests/unit/broker/clients/test_person_quotas.py::test_refusals_past_their_rate_get_no_record",
                    QUOTAS + "test_refusals_do_not_fill_the_audit",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/client.py",
                "            self._recorded_refusals = 0\n",
                "            pass\n",
                ("tests/unit/broker/clients/test_person_quotas.py::test_refusals_past_their_rate_get_no_record",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "if is_recorded and person.take_record(time.monotonic()):",
                "if person.take_record(time.monotonic()):",
                (QUOTAS + "test_requests_past_the_rate_do_not_fill_the_audit",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/counted_refusals.py",
                "Counted(1 + (former.number if former else 0), peer, refusal, is_one_more)",
                "Counted(1, peer, refusal, is_one_more)",
                (QUOTAS + "test_refusals_do_not_fill_the_audit",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "        self._intake.record_counted(at_end=True)\n",
                "",
                (AUDIT + "test_refusals_that_were_counted_are_recorded_at_the_end",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "MOST_USERS + 1 if at_end else MOST_RECORDS",
                "MOST_USERS + 1",
                ("tests/unit/broker/requests/test_dispatch.py::test_records_of_counted_refusals_are_few_in_a_second",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/counted_refusals.py",
                "len(self._of) >= MOST_USERS",
                "len(self._of) < 0",
                ("tests/unit/broker/requests/test_counted_refusals.py::test_users_beyond_a_bound_share_a_record",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/client.py",
                "self.allowance -= max(0, record_bytes - RECORD_BYTES) / RECORD_BYTES",
                "self.allowance -= record_bytes < 0",
                ("tests/unit/broker/clients/test_person_quotas.py::test_long_records_count_as_requests",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "            if size > RECORD_BYTES:\n                client.person.charge_record(size)\n",
                "",
                ("tests/unit/broker/requests/test_dispatch.py::test_long_records_are_charged",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "                person.charge_record(size)\n        else:",
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
                (QUOTAS + "test_clients_that_can_not_be_known_do_not_fill_the_log",),
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
                "            line_quota.report()\n            fault",
                "            fault",
                (QUOTAS + "test_clients_that_can_not_be_known_do_not_fill_the_log",),
            ),
        ),
    ),
    Guarantee(
        "bounded-memory",
        (
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "            self._persons.forget_idle(now)\n",
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
                "broker/nsbrokerd/requests/plan_memory.py",
                "if self._count >= _MAX_REMEMBERED or len(self._known) >= _MAX_REMEMBERED_SUBJECTS:",
                "if len(self._known) >= _MAX_REMEMBERED_SUBJECTS:",
                ("tests/unit/broker/requests/test_plan_memory.py::test_number_of_remembered_requests_is_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/plan_memory.py",
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
                "broker/nsbrokerd/serving/turn.py",
                "for fd, event in self.epoll.poll(0, 1)]",
                "for fd, event in self.epoll.poll(0)]",
                ("tests/local/broker/serving/test_hub.py::test_users_that_always_have_a_request_take_turns",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/turn.py",
                "for fd, event in self.epoll.poll(0, 1)]",
                "for fd, event in self.epoll.poll(0)[:1]]",
                ("tests/local/broker/serving/test_hub.py::test_connections_that_always_have_a_request_take_turns",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "            turn = self._order.first([*(self._turns[fd] for fd, _ in ready), *self._cut_turns])\n",
                "            turn = self._turns[ready[0][0]]\n",
                (HUB + "test_user_whose_requests_take_long_has_fewer_turns",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "self._order.charge(turn.account, took if took < LONG_S else self._time.correct(took))",
                "self._order.charge(turn.account, 1)",
                (HUB + "test_user_whose_requests_take_long_has_fewer_turns",),
            ),
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "        tasks.charge = hub.charge\n",
                "",
                (NEW_HUB + "test_time_of_a_task_is_that_of_its_person",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "        self._order.charge(person, took if took < LONG_S else self._time.correct(took))\n",
                "        pass\n",
                (NEW_HUB + "test_time_of_a_task_is_that_of_its_person",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/turn.py",
                "        self.account = person\n",
                "        self.account = Chore(print)\n",
                (HUB + "test_user_does_not_pay_less_by_connecting_anew",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/turn_time.py",
                "            return took\n        return min(",
                "            return 0\n        return min(",
                ("tests/unit/broker/serving/test_turn_time.py::test_time_that_the_broker_slept_counts",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/turns.py",
                "            used = self.now_s\n",
                "            pass\n",
                ("tests/unit/broker/serving/test_turns.py::test_account_that_was_away_comes_first_but_not_for_longer",),
            ),
        ),
    ),
    Guarantee(
        "large-requests-are-cut",
        (
            Mutant(
                "broker/nsbrokerd/sockets/batch.py",
                "((planned, sock))\n"
                "            if time_slice is not None and time_slice.is_over():\n"
                "                return\n",
                "((planned, sock))\n",
                (STEPS + "test_sockets_are_made_one_by_one_if_there_is_no_time",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/batch.py",
                "                return\n            elif time_slice is not None and time_slice.is_over():",
                "                return\n            elif time_slice is False:",
                (STEPS + "test_sockets_are_made_one_by_one_if_there_is_no_time",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/opener.py",
                "            if errand is None:\n                batch.close()\n",
                "            if errand is None:\n                pass\n",
                (STEPS + "test_nothing_is_left_of_a_request_that_is_given_up_at_any_cut",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "            if self._in_force.policy is policy or isinstance(outcome, Refusal):",
                "            if policy is not None:",
                (OPENING + "test_request_that_a_reload_denies_meanwhile_is_refused",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/resolver.py",
                "            if self._in_force.policy is policy or isinstance(outcome, Refusal):",
                "            if policy is not None:",
                (OPENING + "test_files_that_a_reload_denies_meanwhile_are_not_handed_out",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/resolver_files.py",
                "        texts.append(decoder.decode(part))\n        yield\n",
                "        texts.append(decoder.decode(part))\n",
                (OPENING + "test_large_files_are_read_in_parts",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/answers.py",
                "                rest = rest[os.write(writer, rest) :]\n            yield\n",
                "                rest = rest[os.write(writer, rest) :]\n        yield\n",
                (ANSWERS + "test_long_answer_is_made_and_compared_in_steps",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/resolver.py",
                "            for file in outcome.files:\n                file.close()\n",
                "",
                (OPENING + "test_files_that_a_reload_denies_meanwhile_are_not_handed_out",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/time_slice.py",
                "            if time_slice.is_over():\n                yield None\n",
                "            if time_slice is None:\n                yield None\n",
                (OPENING + "test_large_files_are_read_in_parts",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/time_slice.py",
                "            self._is_over = self.is_awaited()\n",
                "            self._is_over = False\n",
                (SLICE + "test_piece_goes_on_until_others_wait",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/time_slice.py",
                "        if not self._is_over:\n",
                "        if now:\n",
                (SLICE + "test_piece_that_must_end_does_not_go_on",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "        return any(self._turns[fd] is not turn for fd, _ in self._epoll.poll(0, 2))\n",
                "        return False\n",
                (CUT + "test_piece_is_awaited_by_other_users_and_new_clients_only",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "        if self._must_let_others_run(self._clock()) or",
                "        if",
                (CUT + "test_piece_is_awaited_by_other_tasks_after_a_while",),
            ),
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "        dispatcher.time_slice.is_awaited = hub.is_awaited\n",
                "        dispatcher.time_slice.is_awaited = lambda: False\n",
                (NEW_HUB + "test_request_goes_on_as_long_as_the_hub_has_nobody_who_waits",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/plans.py",
                "        if position and not position % _SOCKETS_IN_STEP:\n            yield\n",
                "        if position < 0:\n            yield\n",
                (OPENING + "test_large_request_is_planned_in_steps",),
            ),
            Mutant(
                "client/nsbroker/wire/long_requests.py",
                "                yield\n            else:\n                return values",
                "                pass\n            else:\n                return values",
                (LONG + "test_garbage_is_decoded_in_short_steps",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/intake.py",
                "if is_long(packet) and not is_too_long:",
                "if not packet:",
                (GARBAGE + "test_other_users_are_served_before_a_large_request_has_ended",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "            cut.steps.close()\n",
                "",
                (CUT + "test_request_of_a_client_that_is_gone_is_given_up",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "        if client not in self._cut and len(self._cut_turns) >= self._max_cut:",
                "        if client not in self._cut and len(self._cut) < 0:",
                (CUT + "test_requests_past_the_number_of_cut_ones_are_served_in_one_piece",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "            if turn.muted >= MAX_CUT_OF_USER:\n",
                "            if turn.muted < 0:\n",
                (CUT + "test_user_with_many_requests_in_progress_waits_with_the_next",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "        if client not in self._cut and len(self._cut_turns) >= self._max_cut:",
                "        if client not in self._cut and len(self._cut) >= self._max_cut:",
                (CUT + "test_requests_that_wait_take_no_cuts_of_others",),
            ),
        ),
    ),
    Guarantee(
        "slow-binds-delay-their-user",
        (
            Mutant(
                "broker/nsbrokerd/sockets/opener.py",
                "                if batch.binds and self._slow.is_slow(person.uid):",
                "                if batch.binds and self._slow is None:",
                (STEPS + "test_after_a_slow_bind_the_person_binds_in_its_own_thread",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/batch.py",
                "            self._slow.judge(self._person.uid, took_s, used)\n",
                "            pass\n",
                (STEPS + "test_after_a_slow_bind_the_person_binds_in_its_own_thread",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/slow_binds.py",
                "        if used is not None and not used.sleeps:",
                "        if used is not None:",
                (SLOW + "test_suspect_whose_calls_work_or_sleep_for_long_is_slow",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/slow_binds.py",
                "            budget.left_s = min(budget.left_s, max(-most_debt_s, budget.left_s - seconds))\n",
                "            budget.left_s = BUDGET_S - seconds\n",
                (SLOW + "test_suspect_whose_calls_work_or_sleep_for_long_is_slow",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/slow_binds.py",
                "BUDGET_S if used is None else math.inf",
                "BUDGET_S",
                (SLOW + "test_debt_is_paid_back_before_a_person_binds_in_the_main_thread_again",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/slow_binds.py",
                ", watch_s=took_s)",
                ")",
                (SLOW + "test_long_calls_take_a_small_share_of_the_main_threads_time",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/slow_binds.py",
                "BUDGET_S if used is None else math.inf",
                "math.inf",
                (SLOW + "test_first_long_call_is_forgiven_soon_however_long_it_was",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/opener.py",
                "                errand.abandon(batch.close_in_thread)\n",
                "                batch.close()\n",
                (STEPS + "test_sockets_of_a_client_that_is_gone_stay_open_until_the_thread_has_left_them",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/opener.py",
                "                errand.abandon(batch.close_in_thread)\n",
                "                errand.abandon(batch.close)\n",
                (STEPS + "test_thread_uses_no_porter",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/set_up.py",
                "_libc = ctypes.CDLL(",
                "_libc = ctypes.PyDLL(",
                ("tests/unit/broker/sockets/test_sctp_addresses.py::test_other_threads_run_while_the_kernel_binds",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/slow_binds.py",
                "        self._credentials.prove()\n",
                "",
                (SLOW + "test_process_ends_if_a_thread_starts_with_other_rights",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/credentials.py",
                "        if (os.geteuid(), os.getegid()) != (self.uid, self.gid) or ",
                "        if ",
                (SLOW + "test_process_ends_if_a_thread_starts_with_other_rights",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/slow_binds.py",
                "        if len(self._lanes) >= self._max_threads:",
                "        if len(self._lanes) < 0:",
                (SLOW + "test_threads_that_work_are_bounded_and_those_that_do_not_make_room",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/slow_binds.py",
                "            waiting <= MAX_SOCKETS and further",
                "            waiting > 0 and further",
                (SLOW + "test_sockets_that_wait_for_a_thread_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/slow_binds.py",
                " - _SOCKETS_FOR_EACH <= _FURTHER_SOCKETS\n",
                " > 0\n",
                (SLOW + "test_sockets_of_all_persons_that_wait_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/slow_binds.py",
                "                slowness.period_s = min(_LONGEST_S, 2 * slowness.period_s)\n",
                "                pass\n",
                (SLOW + "test_relapse_takes_twice_as_long_and_is_forgiven_in_the_end",),
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
            Mutant(
                "broker/nsbrokerd/serving/tasks.py",
                "if trio.current_time() - since >= self._tasks.reply_timeout_s():",
                "if trio.current_time() < since:",
                ("tests/local/broker/serving/test_tasks.py::test_client_that_reads_no_replies_keeps_no_task",),
            ),
        ),
    ),
    Guarantee(
        "close-means-closed",
        (
            Mutant(
                "broker/nsbrokerd/clients/channel.py",
                "            for file in files[first : first + _CLOSED_AT_ONCE]:\n                file.close()\n",
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
                "broker/nsbrokerd/clients/porter_process.py",
                "        _answer(broker, FOREIGN)\n",
                "        _answer(broker, NAMESPACES, fds)\n",
                (PORTERS + "test_other_descriptors_never_come_here",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/porter_process.py",
                "    elif _answer(broker, NAMESPACES, fds):\n        return fds, True\n",
                "    elif _answer(broker, NAMESPACES, fds) or True:\n        return fds, True\n",
                (
                    "tests/local/broker/clients/test_porter_process.py"
                    "::test_each_order_is_answered_though_the_kernel_takes_no_descriptors",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/closer.py",
                "        elif not fdpass.hang_up_quickly(connection):",
                "        elif not fdpass.hang_up_quickly(connection) or is_answered:",
                (CLOSER + "test_connection_with_unread_descriptors_is_left_to_a_porter",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/closer.py",
                "        if is_at_porter:\n",
                "        if False:\n",
                (CLOSER + "test_connection_that_is_at_the_porter_is_not_looked_into",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/closer.py",
                "if isinstance(file, socket.SocketType) and file.family in SLOW_TO_CLOSE:",
                "if isinstance(file, socket.SocketType) and file.family < 0:",
                (
                    OPENER + "test_packet_socket_of_a_request_that_fails_is_closed_by_a_porter",
                    CLOSER + "test_sockets_that_are_slow_to_close_are_left_to_a_porter",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/batch.py",
                "if self._closer.is_full(self._person):",
                "if self._closer is None:",
                (OPENER + "test_packet_sockets_are_refused_while_too_many_are_being_closed",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/channel.py",
                "            closer.discard(owner, files)\n",
                "            for file in files:\n                file.close()\n",
                (CHANNEL + "test_packet_socket_that_cant_be_delivered_is_closed_by_a_porter",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/channel.py",
                "            if not queued_bytes(self._fd):",
                "            if queued_bytes(self._fd) < 0:",
                (CHANNEL + "test_socket_that_was_taken_before_its_reply_is_closed_by_a_porter",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/porter.py",
                "                if order.taken is not None and not order.taken.is_late:\n",
                "                if order.taken is not None and order.taken.is_late:\n",
                (PORTER + "test_request_does_not_wait_for_a_porter_that_hangs",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/porter.py",
                ">= MAX_PACKETS_AHEAD:",
                "< 0:",
                (PORTER + "test_packets_that_wait_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/porter.py",
                " or len(self._waiting) >= GATHERED",
                "",
                (PORTER + "test_files_beyond_a_few_orders_are_sent_together",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/porter.py",
                "sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _ROOM_BYTES)",
                "pass",
                (PORTER + "test_half_a_million_connections_find_room",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/porters.py",
                "        if len(self._of) >= MAX_PORTERS:",
                "        if len(self._of) < 0:",
                (PORTERS + "test_persons_have_porters_of_their_own_up_to_a_bound",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/porters.py",
                "return owner.is_named or sum(not porter.is_named for porter in self._of.values()) < MAX_PORTERS // 2",
                "return True",
                (PORTERS + "test_persons_have_porters_of_their_own_up_to_a_bound",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/porter_process.py",
                "libc.capset(header, sets) != 0",
                "sets is None",
                (PORTERS + "test_porter_has_no_power_and_no_other_descriptor",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/porter_process.py",
                "            signal.setitimer(signal.ITIMER_REAL, _IMPATIENT_AFTER_S, _IMPATIENT_AFTER_S)\n",
                "",
                (PORTERS + "test_socket_that_lingers_does_not_hold_up_the_porter",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/parallel_close.py",
                "                    signal.pthread_kill(thread, signal.SIGALRM)\n",
                "                    pass\n",
                (PARALLEL + "test_close_that_lingers_is_interrupted",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/parallel_close.py",
                "        self._start(min(MAX_THREADS, len(fds)))\n",
                "        self._start(min(1, len(fds)))\n",
                (PARALLEL + "test_files_wait_together",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "        self.rest_s = _SLOW_REST_S\n        self._keep_queue(SHORT_QUEUE)\n",
                "        self.rest_s = _SLOW_REST_S\n",
                (ADMISSION + "test_queue_is_short_while_very_many_connections_hang",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "if held < self._most_held + DESCRIPTORS_TO_TURN_AWAY else 0",
                "if held >= 0 else 0",
                (ADMISSION + "test_connections_that_hang_never_take_the_descriptors_of_requests",),
            ),
            Mutant(
                "client/nsbroker/link/fdpass.py",
                "            if flags & _MSG_CTRUNC:\n                return True\n",
                "            if flags & _MSG_CTRUNC:\n                return False\n",
                (
                    ADMISSION + "test_descriptors_of_a_connection_past_the_rate_are_dropped_by_a_porter",
                    "tests/unit/client/link/test_fdpass.py::test_hanging_up_quickly_finds_descriptors_behind_other_packets",
                ),
            ),
        ),
    ),
    Guarantee(
        "ends-though-a-porter-hangs",
        (
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "        porters.start()\n",
                "",
                (HANGING + "test_broker_ends_and_the_next_one_serves",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/porters.py",
                "            self._without += porter.send_waiting(at_any_rate=True)\n",
                "            pass\n",
                (PORTERS + "test_porters_go_on_after_the_end_of_the_broker",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/cgroup.py",
                "                    if not int(fields[6]) & _PF_EXITING:\n",
                "                    if int(fields[6]) & _PF_EXITING:\n",
                (HANGING_MEMORY + "test_next_broker_starts_while_one_that_was_killed_can_not_end",),
            ),
            Mutant(
                "deploy/nsbrokerd.service",
                "KillMode=process\n",
                "",
                ("tests/unit/deploy/test_files.py::test_unit_does_not_wait_for_porters",),
            ),
        ),
    ),
    Guarantee(
        "quota-of-new-connections",
        (
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "if not person.arrivals.take(now):",
                "if person.arrivals.take(now) is None:",
                (
                    ADMISSION + "test_connections_past_the_rate_are_closed_and_only_the_first_ones_are_answered",
                    "tests/kernel/broker/clients/test_new_connections.py"
                    "::test_user_that_opens_too_many_connections_is_turned_away_and_others_are_served",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "reason is _NO_ROOM or person.arrivals.take_answer(now)",
                "True",
                (ADMISSION + "test_connections_past_the_rate_are_closed_and_only_the_first_ones_are_answered",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "                self._keep_queue(SHORT_QUEUE)\n",
                "",
                (ADMISSION + "test_queue_is_short_while_a_person_opens_too_many",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "return _ACCEPTS_AT_ONCE if self._queue == LONG_QUEUE else 1",
                "return _ACCEPTS_AT_ONCE",
                (ADMISSION + "test_queue_is_short_while_a_person_opens_too_many",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/hub.py",
                "        elif self._admission.rest_s:\n            self._rest.begin(self._admission.rest_s)\n",
                "",
                ("tests/local/broker/serving/test_hub_trouble.py::test_listener_rests_when_admission_says_so",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "_ACCEPTS_AT_ONCE = 4",
                "_ACCEPTS_AT_ONCE = 64",
                (ADMISSION + "test_turn_of_accepting_is_short",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/arrivals.py",
                "        if key not in self._counts and len(self._counts) >= NAMED:",
                "        if key not in self._counts and len(self._counts) < 0:",
                (ARRIVALS + "test_persons_past_a_bound_share_one_line",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/arrivals.py",
                "        self._tokens = min(BURST, self._tokens + (now - self._refilled_at) * PER_SECOND)",
                "        self._tokens = self._tokens + (now - self._refilled_at) * PER_SECOND",
                (ARRIVALS + "test_person_opens_a_burst_of_connections_and_then_as_many_as_time_gives",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/persons.py",
                "            and person.arrivals.are_forgettable(now)\n",
                "",
                (ADMISSION + "test_quota_of_new_connections_is_not_forgotten_early",),
            ),
            Mutant(
                "broker/nsbrokerd/service/line_quota.py",
                "self._left_out[key] += number",
                "self._left_out[key] += 1",
                (LINES + "test_lines_that_have_a_number_are_counted_with_it",),
            ),
        ),
    ),
    Guarantee(
        "accepting-goes-on",
        (
            Mutant(
                "broker/nsbrokerd/clients/persons.py",
                "if person.clients + person.closing >= self.quotas.clients_per_user:",
                "if person.clients >= self.quotas.clients_per_user:",
                (
                    ADMISSION + "test_connections_that_hang_are_of_the_quota_of_their_person",
                    "tests/kernel/broker/clients/test_new_connections.py"
                    "::test_connections_that_hang_keep_only_their_user_out",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/clients/persons.py",
                "if not (person.clients or person.closing)",
                "if not person.clients",
                (ADMISSION + "test_connections_that_hang_are_of_the_quota_of_their_person",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/admission.py",
                "return _ACCEPTS_AT_ONCE if held < self._most_held + DESCRIPTORS_TO_TURN_AWAY else 0",
                "return 0",
                (ADMISSION + "test_accepting_slows_down_but_goes_on_while_very_many_connections_hang",),
            ),
            Mutant(
                "broker/nsbrokerd/clients/porters.py",
                "                file.owner.closing -= 1\n",
                "                pass\n",
                (PORTERS + "test_files_that_no_porter_can_get_are_closed_by_a_program_of_their_own",),
            ),
        ),
    ),
    Guarantee(
        "sent-descriptors-are-named",
        (
            Mutant(
                "broker/nsbrokerd/serving/intake.py",
                "        if taken.answer == MORE:\n",
                "        if taken.answer is None:\n",
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
                "return not client.is_closed\n",
                "return client is not None\n",
                (TASKS + "test_request_of_a_client_that_leaves_with_replies_unread_makes_no_socket",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/tasks.py",
                "return self._client.is_closed\n",
                "return False\n",
                (TASKS + "test_request_of_a_client_that_is_gone_waits_no_longer",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "if is_over or outcome is None or not _is_namespace_missing(outcome):",
                "if outcome is None or not _is_namespace_missing(outcome):",
                (TASKS + "test_request_waits_as_long_as_it_asked_to",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "    return isinstance(outcome, Refusal) and outcome.code == NO_SUCH_NAMESPACE\n",
                "    return isinstance(outcome, Refusal)\n",
                (TASKS + "test_request_waits_until_all_of_its_namespaces_exist",),
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
