"""The broker's room `namespaces`: found, entered, left again, and proven."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

GUARANTEES = (
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
                "broker/nsbrokerd/sockets/opener.py",
                "namespace = gate.verify(namespace_fd, self._made[len(self._namespaces)][1])",
                "namespace = gate.verify(gate.home_fd, self._made[0][1])",
                (
                    "tests/kernel/broker/namespaces/test_netns.py::test_sockets_that_were_made_in_the_wrong_namespace_are_closed",
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
                "broker/nsbrokerd/namespaces/sent_descriptors.py",
                "return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET",
                "return True",
                (
                    "tests/kernel/broker/clients/test_foreign_descriptors.py::test_what_is_no_network_namespace_is_no_such_namespace",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/sent_descriptors.py",
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
                "if _identify(user_fd) == self._user:",
                "if _identify(user_fd) == self._home:",
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
                "if len(data) > MAX_FILE_BYTES:",
                "if len(data) < 0:",
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
)
