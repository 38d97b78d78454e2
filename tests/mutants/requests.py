"""The broker's room `requests`: the audit, and the answers."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

EXPLAIN = "tests/kernel/broker/requests/test_explain.py::"
SUFFICES = "test_grant_with_the_rules_that_it_lacks_allows_everything"

RECORDS = "tests/unit/broker/requests/test_audit_records.py::"
HANGING_UP = "tests/unit/broker/serving/test_intake_cut.py::"
AUDIT = "tests/kernel/broker/requests/test_audit.py::"

GUARANTEES = (
    Guarantee(
        "audit-before-the-reply",
        (
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "size = self._in_force.audit.allowed(client.peer, answer.reply.request_id, operation, answer.details)",
                "size, late = 0, (client.peer, answer.reply.request_id, operation, answer.details)\n"
                '            __import__("threading").Timer(0.5, self._in_force.audit.allowed, late).start()',
                ("tests/kernel/broker/requests/test_audit.py::test_record_is_written_before_the_reply",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "size = self._in_force.audit.refused(client.peer, request_id, operation, refusal, specs)\n",
                "size = len(specs)\n",
                ("tests/kernel/broker/requests/test_audit.py::test_refusal_has_one_record_that_says_why",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/namespaces.py",
                "[end_record({})])",
                "[])",
                ("tests/kernel/broker/requests/test_audit.py::test_list_has_a_record",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/resolver.py",
                "(file,), [end_record(fields)])",
                "(file,), [])",
                ("tests/kernel/broker/requests/test_audit.py::test_lookup_has_a_record",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/explain.py",
                "[end_record(details)])",
                "[])",
                (EXPLAIN + "test_each_question_is_in_the_audit",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/intake.py",
                "            self._dispatcher.record_unsent(client, received.request, outcome)\n",
                "            pass\n",
                (HANGING_UP + "test_request_that_the_policy_refused_has_a_record_though_its_client_hangs_up",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/intake.py",
                "                self._dispatcher.record_refusal(client, request.request_id, refusal)\n",
                "                pass\n",
                (HANGING_UP + "test_client_that_is_gone_when_its_porter_has_answered_leaves_a_record",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/opener.py",
                "                        errand.result()  # if it has failed already, the request has\n",
                "",
                (
                    "tests/unit/broker/sockets/test_opener_steps.py"
                    "::test_request_that_failed_in_the_thread_fails_though_nobody_waits_for_it_any_more",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/opener.py",
                "            with suppress(AbandonedError):",
                "            with suppress():",
                (HANGING_UP + "test_request_that_the_kernel_refused_has_a_record_wherever_its_client_hangs_up",),
            ),
            Mutant(
                "broker/nsbrokerd/serving/intake.py",
                "                self._dispatcher.record_refusal(client, None, _excess(quotas), is_recorded=False)\n",
                "                pass\n",
                (HANGING_UP + "test_request_past_the_rate_is_counted_though_its_client_hangs_up",),
            ),
        ),
    ),
    Guarantee(
        "records-are-short",
        (
            Mutant(
                "broker/nsbrokerd/requests/audit.py",
                "        return [_printable(value)]\n",
                "        return [_printable(value)]\n    return [_printable(value)]\n",
                (RECORDS + "test_long_values_are_cut_and_their_lengths_are_said",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/audit.py",
                "            return text[:index]\n",
                "            return text\n",
                (RECORDS + "test_text_of_any_length_and_kind_is_short_in_its_record",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/audit.py",
                '        fields = {**fields, "cut": lengths}\n',
                "        pass\n",
                (RECORDS + "test_long_values_are_cut_and_their_lengths_are_said",),
            ),
        ),
    ),
    Guarantee(
        "handed-out-is-never-thinned",
        (
            Mutant(
                "broker/nsbrokerd/requests/audit.py",
                "for level, name, value in options]",
                "for level, name, value in options[:8]]",
                (RECORDS + "test_options_of_handed_out_sockets_are_all_in_the_record",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "            size = self._in_force.audit.allowed(",
                "            size = client.person.take_record(time.monotonic()) and self._in_force.audit.allowed(",
                (AUDIT + "test_record_is_written_before_the_reply",),
            ),
        ),
    ),
    Guarantee(
        "explain-agrees-with-open",
        (
            Mutant(
                "broker/nsbrokerd/policy/explain.py",
                "        return Explanation(planned.message, None, False, True, summaries, lacks)\n",
                "        return Explanation(None, 0, False, True, summaries, lacks)\n",
                (EXPLAIN + "test_explanation_says_yes_if_and_only_if_open_succeeds",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/explain.py",
                "    planned = plan((spec,), policy, subject, sent)\n",
                "    planned = plan((spec._replace(bind=None),), policy, subject, sent)\n",
                (EXPLAIN + "test_explanation_says_yes_if_and_only_if_open_succeeds",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/explain.py",
                "            check_namespace(namespace, policy)\n",
                "            namespace.encode()\n",
                (EXPLAIN + "test_impossible_name_is_refused_as_by_open",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/explain.py",
                "    if connect is not None and not _allows_connect(allowed.grant, allowed.kind, connect):",
                "    if connect is not None and not _allows_connect(grants[-1], allowed.kind, connect):",
                ("tests/unit/broker/policy/test_explain.py::test_grant_that_is_not_preferred_lacks_nothing",),
            ),
        ),
    ),
    Guarantee(
        "explain-shows-own-grants",
        (
            Mutant(
                "broker/nsbrokerd/policy/explain.py",
                "for grant in policy.grants_of(subject) if",
                "for grant in policy.grants if",
                (EXPLAIN + "test_grants_of_other_users_are_not_shown",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/explain.py",
                "        elif answer.grants and isinstance(namespace, str)",
                "        elif isinstance(namespace, str)",
                (EXPLAIN + "test_user_without_a_grant_learns_nothing",),
            ),
        ),
    ),
    Guarantee(
        "explain-names-what-is-missing",
        tuple(
            Mutant(
                "broker/nsbrokerd/policy/explain.py", old, new, (f"tests/unit/broker/policy/test_explain.py::{test}",)
            )
            for old, new, test in (
                ("    if kind not in grant.kinds:\n", "    if not grant.kinds:\n", SUFFICES),
                ("    for option in options:\n", "    for option in options[1:]:\n", SUFFICES),
                ("        elif lacks_low_port(", "        if lacks_low_port(", "test_every_missing_rule_is_named"),
                ('_rule("*" if parse_host(host).is_unspecified', '_rule("*" if not host', SUFFICES),
            )
        ),
    ),
    Guarantee(
        "unaudited-is-never-handed-out",
        (
            Mutant(
                "broker/nsbrokerd/requests/dispatch.py",
                "        except AuditError as error:\n",
                "        except AuditError as error:\n            client.deliver(answer.reply, answer.files)\n",
                ("tests/kernel/broker/requests/test_audit.py::test_nothing_is_handed_out_that_can_not_be_audited",),
            ),
        ),
    ),
    Guarantee(
        "audit-says-who-got-what",
        (
            Mutant(
                "broker/nsbrokerd/requests/audit.py",
                '"family":{family},"cookie":{cookie}\'',
                '"family":{family},"cookie":{opened.namespace.cookie}\'',
                ("tests/kernel/broker/requests/test_audit.py::test_record_says_who_got_what_where_and_by_which_grant",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/audit.py",
                "(label, grant.name, namespace.cookie), []",
                "(label, grant.name, opened[0].namespace.cookie), []",
                (
                    "tests/unit/broker/requests/test_audit_records.py::test_sockets_of_two_namespaces_never_share_a_record",
                ),
            ),
        ),
    ),
    Guarantee(
        "audit-quotes-names",
        (
            Mutant(
                "broker/nsbrokerd/requests/audit.py",
                '"namespace":{_quote(label)}',
                '"namespace":"{label}"',
                ("tests/unit/broker/requests/test_audit_records.py::test_names_are_quoted",),
            ),
        ),
    ),
    Guarantee(
        "audit-times-are-utc",
        (
            Mutant(
                "broker/nsbrokerd/requests/audit.py",
                "time.gmtime(int(second))",
                "time.localtime(int(second))",
                ("tests/unit/broker/requests/test_audit_records.py::test_times_are_utc_wherever_the_broker_runs",),
            ),
        ),
    ),
    Guarantee(
        "audit-stays-readable",
        (
            Mutant(
                "broker/nsbrokerd/requests/audit.py",
                "        if self._is_torn:\n",
                "        if self._is_torn is None:\n",
                (
                    "tests/kernel/broker/requests/test_audit.py::test_audit_stays_readable_when_the_disk_was_full",
                    "tests/kernel/broker/requests/test_audit.py::test_audit_stays_readable_when_the_broker_was_killed",
                ),
            ),
        ),
    ),
    Guarantee(
        "replies-carry-cookies",
        (
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "(cookie, None if is_grouped else",
                "(cookie + 1, None if is_grouped else",
                ("tests/kernel/client/link/test_batch.py",),
            ),
        ),
    ),
    Guarantee(
        "replies-identify-namespaces",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/netns.py",
                "byteorder), status.st_dev, status.st_ino)",
                "byteorder), status.st_ino, status.st_dev)",
                (
                    "tests/kernel/broker/clients/test_channel.py::test_reply_identifies_the_namespaces_that_were_entered",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "index_of.setdefault(namespace, len(index_of))",
                "index_of.setdefault(namespace, 0)",
                (
                    "tests/kernel/broker/clients/test_channel.py::test_reply_identifies_the_namespaces_that_were_entered",
                ),
            ),
        ),
    ),
    Guarantee(
        "answers-are-sealed",
        (
            Mutant(
                "broker/nsbrokerd/requests/answers.py",
                "fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE",
                "fcntl.F_SEAL_GROW",
                ("tests/unit/broker/requests/test_answers.py::test_answer_can_not_be_changed_by_any_process",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/answers.py",
                "os.fchmod(writer, 0o400)",
                "os.fchmod(writer, 0o777)",
                ("tests/kernel/broker/requests/test_answers.py::test_clients_can_not_open_an_answer_again",),
            ),
            Mutant(
                "client/nsbroker/link/proof.py",
                "if seals & _SEALS != _SEALS or ",
                "if ",
                ("tests/local/client/drivers/test_open.py::test_blob_that_is_not_what_it_says_is_refused",),
            ),
        ),
    ),
    Guarantee(
        "nothing-is-shared-between-grants",
        (
            Mutant(
                "broker/nsbrokerd/requests/plan_memory.py",
                "        known = self._known.get(subject)\n",
                "        known = next(iter(self._known.values()), None)\n",
                ("tests/unit/broker/requests/test_plan_memory.py::test_plan_of_one_user_is_not_recalled_for_another",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/plan_memory.py",
                "if not too_small < number <= MAX_REQUEST_ID:",
                "if number > MAX_REQUEST_ID:",
                ("tests/unit/broker/requests/test_recalled_packets.py::test_packet_with_a_wrong_id_is_never_recalled",),
            ),
        ),
    ),
)
