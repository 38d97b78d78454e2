"""Pods: found by the CRI socket of the container runtime, which the broker believes only in part."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

_CRI = "broker/nsbrokerd/namespaces/engines/cri.py"
_MESSAGES = "broker/nsbrokerd/namespaces/engines/cri_messages.py"
_GRPC = "broker/nsbrokerd/namespaces/engines/grpc.py"
_TESTS = "tests/unit/broker/namespaces/engines"

GUARANTEES = (
    Guarantee(
        "pod-is-the-named-one",
        (
            Mutant(
                _CRI,
                "if sandbox.pod == pod and (state",
                "if (state",
                (f"{_TESTS}/test_cri.py::test_pod_with_another_name_or_namespace_than_the_asked_one_is_not_taken",),
            ),
            Mutant(
                _CRI,
                "if len(ready) > 1:",
                "if len(ready) > 2:",
                (f"{_TESTS}/test_cri.py::test_pod_with_two_ready_sandboxes_is_refused",),
            ),
            Mutant(
                _CRI,
                "if status.sandbox.id != asked.id or status.sandbox.pod != pod:",
                "if status.sandbox.id != asked.id and status.sandbox.pod != pod:",
                (f"{_TESTS}/test_cri.py::test_status_of_another_pod_is_refused",),
            ),
            Mutant(
                _CRI,
                "    if not status.sandbox.is_ready:\n        raise _not_running(pod)\n",
                "",
                (f"{_TESTS}/test_cri.py::test_pod_that_ends_between_the_questions",),
            ),
        ),
    ),
    Guarantee(
        "pod-in-the-host-network",
        (
            Mutant(
                _CRI,
                "if status.is_in_host_network or not status.key:",
                "if not status.key:",
                (f"{_TESTS}/test_cri.py::test_pod_in_the_network_of_the_host",),
            ),
        ),
    ),
    Guarantee(
        "pod-answers-are-bounded",
        (
            Mutant(
                _GRPC,
                "self._bytes_left -= len(data)",
                "self._bytes_left -= 0",
                (f"{_TESTS}/test_grpc.py::test_all_answers_of_a_connection_are_bounded_together",),
            ),
            Mutant(
                _GRPC,
                "self._events_left -= 1",
                "self._events_left -= 0",
                (f"{_TESTS}/test_grpc.py::test_bad_answer_is_refused",),
            ),
            Mutant(
                _GRPC,
                "self._http.decoder.max_header_list_size = MAX_HEADER_BYTES",
                "self._http.decoder.max_header_list_size = 2**20",
                (f"{_TESTS}/test_grpc.py::test_bad_answer_is_refused",),
            ),
        ),
    ),
    Guarantee(
        "pod-failure-is-no-absence",
        (
            Mutant(
                _GRPC,
                "if self._status != _OK:",
                "if self._status is None:",
                (f"{_TESTS}/test_cri.py::test_runtime_without_a_usable_answer_is_unavailable",),
            ),
            Mutant(
                _GRPC,
                "if is_compressed or length != len(self.data) - _PREFIX.size:",
                "if is_compressed:",
                (f"{_TESTS}/test_grpc.py::test_bad_answer_is_refused",),
            ),
        ),
    ),
    Guarantee(
        "pod-files-are-the-runtimes",
        (
            Mutant(
                _MESSAGES,
                'or sandbox_id not in sources[0].split("/")',
                "",
                (f"{_TESTS}/test_cri_messages.py::test_resolv_conf_without_the_id_in_its_path_is_left_out",),
            ),
        ),
    ),
)
