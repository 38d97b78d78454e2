"""The broker's room `namespaces`: found, entered, left again, and proven."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

FAULTS = "tests/kernel/broker/service/test_container_faults.py::"
HOOK = "tests/kernel/deploy/test_name_hook.py::"

GUARANTEES = (
    Guarantee(
        "container-says-what-it-lacks",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/later_names.py",
                'startswith((b"shared:", b"master:"))',
                'startswith((b"",))',
                (
                    "tests/unit/broker/namespaces/test_later_names.py::"
                    "test_mount_gets_others_if_it_is_shared_or_a_slave",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "        self._state.note(_NAMES, why_later_names_are_hidden())\n",
                "",
                (FAULTS + "test_broker_that_does_not_see_later_names_says_so",),
            ),
            Mutant(
                "broker/nsbrokerd/service/lifecycle.py",
                "            self._state.note(_LIMITS, self._short_lived)\n",
                "            pass\n",
                (FAULTS + "test_broker_whose_limits_end_with_it_says_so",),
            ),
            Mutant(
                "broker/nsbrokerd/seal/maps.py",
                "os.path.ismount(_BPF_DIRECTORY) or has_hosts_mounts()",
                "os.path.ismount(_BPF_DIRECTORY) or True",
                (FAULTS + "test_broker_whose_limits_end_with_it_says_so",),
            ),
            Mutant(
                "broker/nsbrokerd/commands/check.py",
                "    for key, told in _look_at_container(config):\n",
                "    for key, told in ():\n",
                (FAULTS + "test_broker_that_does_not_see_later_names_says_so",),
            ),
        ),
    ),
    Guarantee(
        "hook-keeps-entries",
        (
            Mutant(
                "deploy/container/hooks/nsbroker-name",
                'if made and identity(made["name"]) == made["identity"]:',
                "if made:",
                (HOOK + "test_entry_that_was_made_anew_is_not_removed",),
            ),
            Mutant(
                "deploy/container/hooks/nsbroker-name",
                "            record.unlink()  # an entry",
                "            detach(record)  # an entry",
                (HOOK + "test_entry_of_the_same_namespace_is_not_removed",),
            ),
            Mutant(
                "deploy/container/hooks/nsbroker-name",
                "found.st_ino, found.st_ctime_ns]",
                "found.st_ino, 0]",
                (HOOK + "test_entry_of_a_later_namespace_with_the_same_inode_is_not_removed",),
            ),
            Mutant(
                "deploy/container/hooks/nsbroker-name",
                'done = ip("attach", name, str(pid))',
                'ip("delete", name)\n    done = ip("attach", name, str(pid))',
                (HOOK + "test_entry_of_another_is_neither_replaced_nor_removed",),
            ),
        ),
    ),
    Guarantee(
        "proof-of-namespace",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/netns.py",
                "if namespace_id(namespace_fd) != cookie:",
                "if namespace_id(namespace_fd) is None:",
                (
                    "tests/kernel/broker/namespaces/test_netns.py::test_socket_of_another_namespace_is_never_taken_for_one_of_this[id]",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/netns.py",
                "if not os.path.samestat(os.fstat(found_fd), os.fstat(namespace_fd)):",
                "if not found_fd:",
                (
                    "tests/kernel/broker/namespaces/test_netns.py::test_socket_of_another_namespace_is_never_taken_for_one_of_this[descriptor]",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/batch.py",
                "namespace = gate.verify(namespace_fd, self._made[len(self._namespaces)][1])",
                "namespace = gate.verify(gate.home_fd, self._made[0][1])",
                (
                    "tests/kernel/broker/namespaces/test_netns.py::test_sockets_that_were_made_in_the_wrong_namespace_are_closed",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/opener.py",
                "namespace = self._gate.verify(namespace_fd, sock)",
                "namespace = self._gate.verify(self._gate.home_fd, sock)",
                (
                    "tests/kernel/broker/namespaces/test_netns.py::test_only_socket_that_was_made_in_the_wrong_namespace_is_closed",
                ),
            ),
        ),
    ),
    Guarantee(
        "way-back-fails-closed",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/netns.py",
                "os._exit(EXIT_STATUS)",
                "pass",
                ("tests/kernel/broker/namespaces/test_netns.py::test_process_ends_when_the_way_back_fails",),
            ),
        ),
    ),
    Guarantee(
        "opened-at-the-request",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/netns.py",
                "return os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)",
                "return os.dup(globals().setdefault(name, os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC)))",
                ("tests/kernel/broker/namespaces/test_names.py::test_name_means_the_namespace_that_has_it_now",),
            ),
        ),
    ),
    Guarantee(
        "no-path-of-a-client",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/netns.py",
                'or "/" in name ',
                "",
                ("tests/kernel/broker/namespaces/test_names.py::test_no_name_leads_out_of_the_directory",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/netns.py",
                'or name[0] == "@" ',
                "",
                (
                    "tests/kernel/broker/namespaces/test_names.py::test_entry_whose_name_begins_with_an_at_sign_is_never_entered",
                ),
            ),
        ),
    ),
    Guarantee(
        "sent-is-proven",
        (
            Mutant(
                "broker/nsbrokerd/clients/porter_process.py",
                "return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET",
                "return True",
                (
                    "tests/kernel/broker/clients/test_foreign_descriptors.py::test_what_is_no_network_namespace_is_no_such_namespace",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/file_identity.py",
                "_AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, 0, buffer",
                "_AT_EMPTY_PATH | 0x2000, 0x7FF, buffer",
                ("tests/kernel/broker/namespaces/test_sent.py::test_file_system_of_a_descriptor_is_never_asked",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/sent_descriptors.py",
                "for name in self._names.get(wanted, ()) if identity(name) == wanted]",
                "for name in self._names.get(wanted, ())]",
                ("tests/kernel/broker/namespaces/test_sent.py::test_link_that_leads_elsewhere_now_is_no_name",),
            ),
        ),
    ),
    Guarantee(
        "own-is-the-users",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/sent_descriptors.py",
                "return uid != self._overflow_uid and int.from_bytes(owner, sys.byteorder) == uid",
                "return uid != self._overflow_uid",
                ("tests/kernel/broker/namespaces/test_own.py::test_namespace_of_another_user_is_denied",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/sent_descriptors.py",
                "if identify(user_fd) == self._user:",
                "if identify(user_fd) == self._home:",
                ("tests/kernel/broker/namespaces/test_own.py::test_named_namespace_and_the_hosts_are_nobodys_own",),
            ),
        ),
    ),
    Guarantee(
        "files-of-the-namespace",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/resolver_files.py",
                'for name in names if not name.startswith("@")]',
                'for name in names if name.startswith("@")]',
                (
                    "tests/unit/broker/namespaces/test_resolver_files.py::test_files_of_the_namespace_come_before_those_of_the_system",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/resolver_files.py",
                "if length > MAX_FILE_BYTES:",
                "if length < 0:",
                (
                    "tests/unit/broker/namespaces/test_resolver_files.py::test_huge_file_is_refused_and_a_pipe_never_waited_for",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/resolver_files.py",
                "os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK",
                "os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK * (b'pipe' not in path.encode())",
                (
                    "tests/unit/broker/namespaces/test_resolver_files.py::test_huge_file_is_refused_and_a_pipe_never_waited_for",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/policy/decide.py",
                "any(map(grant.namespaces.covers, namespaces)) and any(map(is_inet, grant.kinds)):",
                "any(map(grant.namespaces.covers, namespaces)) and any(grant.kinds):",
                ("tests/kernel/client/module/test_names.py::test_files_are_for_those_who_have_ip_sockets_there",),
            ),
        ),
    ),
    Guarantee(
        "answers-are-for-the-name",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/engines/docker_api.py",
                "if member.name != name:",
                "if not member.name:",
                (
                    "tests/unit/broker/namespaces/engines/test_docker_api.py::test_container_is_not_found_by_another_word_than_its_name",
                    "tests/unit/broker/namespaces/engines/test_docker_api.py::test_name_in_the_answer_must_be_the_requested_one",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/engines/engines.py",
                "parse_engine_name(str(name), (name.engine,))",
                'parse_engine_name("podman:web", (name.engine,))',
                (
                    "tests/unit/broker/namespaces/engines/test_engines.py::test_engine_is_not_asked_for_a_name_that_is_not_legal",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/policy/engine_names.py",
                "not pattern.fullmatch(name)",
                "not pattern.match(name)",
                (
                    "tests/unit/broker/policy/test_engine_names.py::test_no_container_has_an_odd_name",
                    "tests/unit/broker/policy/test_engine_names.py::test_no_pod_has_an_odd_name",
                ),
            ),
        ),
    ),
    Guarantee(
        "answers-are-not-older",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/engines/questions.py",
                "if waiting.answered <= begun:",
                "if not waiting.answered:",
                (
                    "tests/unit/broker/namespaces/engines/test_questions.py::test_request_during_a_question_gets_the_answer_of_the_next_one",
                ),
            ),
        ),
    ),
    Guarantee(
        "answers-are-proven",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/engines/network_key.py",
                "if found == home:",
                "if not found:",
                ("tests/kernel/broker/namespaces/test_engines.py::test_key_of_the_host_is_refused",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/engines/network_key.py",
                "fcntl.ioctl(fd, _NS_GET_NSTYPE) != _CLONE_NEWNET",
                "fcntl.ioctl(fd, _NS_GET_NSTYPE) == 0",
                ("tests/kernel/broker/namespaces/test_engines.py::test_namespace_of_another_kind_is_none",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/engines/network_key.py",
                "os.O_RDONLY | os.O_NOFOLLOW |",
                "os.O_RDONLY |",
                ("tests/kernel/broker/namespaces/test_engines.py::test_key_that_is_no_network_namespace_is_refused",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/engines/network_key.py",
                'if not path or path.startswith("/proc/"):',
                "if not path:",
                ("tests/kernel/broker/namespaces/test_engines.py::test_key_that_is_no_network_namespace_is_refused",),
            ),
        ),
    ),
    Guarantee(
        "shared-networks",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/engines/docker_api.py",
                "if owner.started_ns > member.started_ns:",
                "if owner.started_ns < 0:",
                (
                    "tests/unit/broker/namespaces/engines/test_docker_api.py::test_owner_that_has_restarted_is_another_namespace",
                    "tests/unit/broker/namespaces/engines/test_docker_api.py::test_owner_of_the_owner_may_not_have_restarted_either",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/engines/docker_api.py",
                "return Found(member.id, chain[-1].key, *files)",
                "return Found(member.id, member.key, *files)",
                ("tests/unit/broker/namespaces/engines/test_docker_api.py::test_owner_has_the_key",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/engines/inspection.py",
                'int((fraction or "").ljust(9, "0"))',
                'int((fraction or "").ljust(9, "0")[:6])',
                ("tests/unit/broker/namespaces/engines/test_inspection.py::test_times_are_in_order",),
            ),
        ),
    ),
    Guarantee(
        "files-of-containers",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/engines/docker_api.py",
                "any(id_ in parts and path == named for id_, named in chain)",
                "any(id_ in parts for id_, named in chain)",
                (
                    "tests/unit/broker/namespaces/engines/test_docker_api.py::test_directory_with_the_id_of_the_owner_proves_nothing",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/engines/inspection.py",
                'mount.get("Destination") == place',
                'mount.get("Destination") is None',
                (
                    "tests/unit/broker/namespaces/engines/test_docker_api.py::test_file_that_a_user_mounted_is_none_of_the_engine",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/engines/container_files.py",
                "os.O_RDONLY | os.O_NOFOLLOW |",
                "os.O_RDONLY |",
                ("tests/unit/broker/namespaces/engines/test_container_files.py::test_symbolic_link_is_not_followed",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/engines/container_files.py",
                "if not stat.S_ISREG(os.fstat(fd).st_mode):",
                "if False:",
                (
                    "tests/unit/broker/namespaces/engines/test_container_files.py::test_fifo_is_neither_read_nor_waited_for",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/engines/container_files.py",
                "None if len(content) > MAX_FILE_BYTES else",
                "None if not content else",
                ("tests/unit/broker/namespaces/engines/test_container_files.py::test_large_file_is_not_read",),
            ),
        ),
    ),
    Guarantee(
        "engines-are-roots",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/engines/unix_socket.py",
                "if uid not in (0, os.geteuid()):",
                "if uid < 0:",
                ("tests/kernel/broker/namespaces/test_engines.py::test_server_of_another_user_is_no_engine",),
            ),
        ),
    ),
    Guarantee(
        "long-answers-are-cut-off",
        (
            Mutant(
                "broker/nsbrokerd/namespaces/engines/http.py",
                "if left < 0:",
                "if left < -(2**30):",
                (
                    "tests/unit/broker/namespaces/engines/test_bad_answers.py::test_bad_answer_makes_the_engine_unavailable",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/engines/docker_api.py",
                "if answer.status != 200:",
                "if answer.status >= 600:",
                (
                    "tests/unit/broker/namespaces/engines/test_bad_answers.py::test_bad_answer_makes_the_engine_unavailable",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/engines/engines.py",
                "trio.move_on_after(self._answer_s)",
                "trio.move_on_after(2 * self._answer_s)",
                (
                    "tests/unit/broker/namespaces/engines/test_engines.py::test_engine_that_hangs_is_unavailable_after_a_second",
                ),
            ),
        ),
    ),
)
