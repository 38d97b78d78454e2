"""Containers by name in the policy, in requests and in limits."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

PATTERNS = "tests/unit/broker/policy/test_engine_patterns.py::"
CONTAINERS = "tests/kernel/broker/requests/test_containers.py::"
FINDER = "tests/unit/broker/requests/test_container_finder.py::"
LATE = "test_client_that_a_reload_denies_learns_nothing_from_a_late_answer"

GUARANTEES = (
    Guarantee(
        "containers-need-their-engine",
        (
            Mutant(
                "broker/nsbrokerd/policy/grant.py",
                "names = self.by_engine.get(engine) if colon else None",
                "names = None",
                (PATTERNS + "test_pattern_without_an_engine_never_covers_a_container",),
            ),
            Mutant(
                "broker/nsbrokerd/policy/grant.py",
                "    if engine not in engines:\n",
                "    if engine not in ENGINES:\n",
                (PATTERNS + "test_pattern_of_an_engine_that_is_not_switched_on_is_refused",),
            ),
        ),
    ),
    Guarantee(
        "engines-are-asked-after-the-policy",
        (
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "        return planned if isinstance(planned, Refusal) else None\n",
                "        return None\n",
                (CONTAINERS + "test_engine_is_not_asked_without_a_grant",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "        if refused is not None:\n",
                "        if refused is not None and not received.request.wait_s:\n",
                (CONTAINERS + "test_request_that_waits_is_refused_once_a_reload_denies_it",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/resolver.py",
                "        return allowed if isinstance(allowed, Refusal) else None\n",
                "        return None\n",
                (CONTAINERS + "test_engine_is_not_asked_without_a_grant",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/explain.py",
                "if answer.by is not None and runs is None:",
                "if runs is None:",
                (CONTAINERS + "test_engine_is_not_asked_without_a_grant",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "if self._in_force.policy is not policy:\n                        denied",
                "if not self._in_force.policy:\n                        denied",
                (CONTAINERS + LATE,),
            ),
            Mutant(
                "broker/nsbrokerd/requests/resolver.py",
                "await take_steps(self._decide(received), self._time_slice) or containers.refuse()",
                "containers.refuse()",
                (CONTAINERS + LATE,),
            ),
            Mutant(
                "broker/nsbrokerd/requests/explain.py",
                "exists=answer.by is None or runs is not False)",
                "exists=runs is not False)",
                (CONTAINERS + LATE,),
            ),
        ),
    ),
    Guarantee(
        "reserved-names-are-no-entries",
        (
            Mutant(
                "broker/nsbrokerd/requests/containers.py",
                "    return [name for name in names if not policy.is_reserved(name)] if policy.engines else names\n",
                "    return names\n",
                (CONTAINERS + "test_entry_of_run_netns_with_the_name_of_a_container_means_nothing",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/namespaces.py",
                "[name for name in sorted(list_names()) if not policy.is_reserved(name)] if grants",
                "sorted(list_names()) if grants",
                (CONTAINERS + "test_entry_of_run_netns_with_the_name_of_a_container_means_nothing",),
            ),
        ),
    ),
    Guarantee(
        "engines-harm-only-their-names",
        (
            Mutant(
                "broker/nsbrokerd/requests/container_finder.py",
                "trio.move_on_at(end + _SLACK_S)",
                "trio.move_on_at(end + 60)",
                (FINDER + "test_engine_that_hangs_costs_a_second_at_most",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/container_finder.py",
                "        key = person, engine\n",
                '        key = person, ""\n',
                (FINDER + "test_engine_that_hangs_does_not_delay_its_person_at_another_engine",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/container_finder.py",
                "                        sleep.enter_context(is_answerable.asleep())\n",
                "",
                (FINDER + "test_hub_serves_others_as_if_there_were_no_question_that_takes_long",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/containers.py",
                'code = OVERLOADED if self.kind == "unavailable" else NO_SUCH_NAMESPACE',
                "code = NO_SUCH_NAMESPACE or OVERLOADED",
                (FINDER + "test_engine_without_an_answer_is_never_a_missing_container",),
            ),
        ),
    ),
    Guarantee(
        "questions-are-bounded",
        (
            Mutant(
                "broker/nsbrokerd/requests/container_finder.py",
                "len(self._names) >= MAX_NAMES_FOR_PERSON\n",
                "len(self._names) >= 100 * MAX_NAMES_FOR_PERSON\n",
                (FINDER + "test_person_asks_for_few_names_at_once",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/containers.py",
                "MAX_FOR_USER, amount, holds_all=True)",
                "100 * MAX_FOR_USER, amount, holds_all=True)",
                (CONTAINERS + "test_questions_of_one_user_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "max(len(received.packet), _BYTES_OF_SOCKET * sockets)",
                "len(received.packet)",
                (
                    "tests/unit/broker/requests/test_containers.py::"
                    "test_group_counts_as_its_sockets_and_not_as_its_bytes",
                    "tests/unit/broker/requests/test_containers.py::test_stock_counts_as_its_sockets",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "                if refusal := is_answerable.move_to(super().quota_of(received)):\n"
                "                    return refusal\n"
                "                with is_answerable.asleep():\n"
                "                    await self._awaited.wait(",
                "                with is_answerable.asleep():\n                    await self._awaited.wait(",
                (CONTAINERS + "test_requests_for_containers_that_wait_for_an_entry_are_bounded",),
            ),
            Mutant(
                "broker/nsbrokerd/requests/awaited_containers.py",
                "                    awaited.next_at = now + PAUSE_S\n",
                "                    awaited.next_at = now + PAUSE_S / 2\n",
                (
                    "tests/unit/broker/requests/test_awaited_containers.py::"
                    "test_all_requests_together_ask_four_times_a_second",
                ),
            ),
        ),
    ),
    Guarantee(
        "limit-takes-no-containers-servers",
        (
            Mutant(
                "broker/nsbrokerd/config/load.py",
                "for_namespaces(namespaces.covers_entry)",
                "for_namespaces(namespaces.covers)",
                ("tests/unit/broker/config/test_engines.py::test_file_of_root_for_a_container_adds_no_name_server",),
            ),
        ),
    ),
)
