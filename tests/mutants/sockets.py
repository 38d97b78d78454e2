"""The broker's room `sockets`: who owns a socket, with whose rights it is made, and what is set on it."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

GUARANTEES = (
    Guarantee(
        "owner",
        (
            Mutant(
                "broker/nsbrokerd/sockets/credentials.py",
                "came_from = _setfsgid(gid), _setfsuid(uid)",
                "came_from = _setfsgid(gid), _setfsuid(self.uid)\n            uid = self.uid",
                ("tests/kernel/broker/sockets/test_identity.py::test_socket_is_its_clients_for_the_kernel",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/credentials.py",
                "came_from = _setfsgid(gid), _setfsuid(uid)",
                "came_from = _setfsgid(self.gid), _setfsuid(uid)\n            gid = self.gid",
                ("tests/kernel/broker/sockets/test_identity.py::test_socket_is_its_clients_for_the_kernel",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/credentials.py",
                "if came_from != (self.gid, self.uid) or was != (uid, gid):",
                "if came_from is None:",
                ("tests/kernel/broker/sockets/test_capabilities.py::test_broker_needs_what_it_keeps",),
            ),
        ),
    ),
    Guarantee(
        "lends-no-power",
        (
            Mutant(
                "broker/nsbrokerd/sockets/batch.py",
                "if planned.spec.family == _AF_NETLINK:",
                "if planned.spec.family < 0:",
                (
                    "tests/kernel/broker/sockets/test_lent_power.py::test_setuid_program_cant_change_a_link_by_the_brokers_netlink_socket",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/credentials.py",
                "self._become(number, self._unused_uid, uid)",
                "self._become(number, self.uid, uid)",
                ("tests/kernel/broker/namespaces/test_foreign_owner.py",),
            ),
        ),
    ),
    Guarantee(
        "no-more-rights-than-granted",
        (
            Mutant(
                "broker/nsbrokerd/sockets/batch.py",
                "self._credentials.without_power(self._credentials.uid, step)",
                "step()",
                (
                    "tests/kernel/broker/sockets/test_kernel_errors.py::test_unprivileged_option_is_set_with_the_clients_rights",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/batch.py",
                "self._credentials.without_power(self._credentials.uid, step)",
                "step()",
                (
                    "tests/kernel/broker/policy/test_refusals.py::test_port_that_its_namespace_made_privileged_is_refused_unless_listed",
                ),
            ),
        ),
    ),
    Guarantee(
        "granted-is-done",
        (
            Mutant(
                "broker/nsbrokerd/sockets/set_up.py",
                "    if planned.binds_as_root:\n        _bind(planned, sock)\n",
                "",
                ("tests/kernel/broker/sockets/test_identity.py::test_port_is_shared_by_the_sockets_of_one_user_alone",),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/set_up.py",
                "    for level, name, value in _split_options(planned.spec.options)[0]:\n",
                "    for level, name, value in ():\n",
                ("tests/kernel/broker/sockets/test_options.py::test_granted_option_is_set",),
            ),
        ),
    ),
    Guarantee(
        "all-or-none",
        (
            Mutant(
                "broker/nsbrokerd/sockets/batch.py",
                "                raise OpenError(planned.position, error) from error\n            self._at += 1",
                "                planned.position.bit_length()\n            self._at += 1",
                (
                    "tests/kernel/broker/sockets/test_kernel_errors.py::test_nothing_is_kept_of_a_request_whose_last_socket_fails",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/sockets/batch.py",
                'opened.sort(key=attrgetter("planned.position"))',
                'opened.sort(key=attrgetter("planned.position"), reverse=True)',
                (
                    "tests/kernel/broker/sockets/test_kernel_errors.py::test_order_of_the_sockets_is_that_of_the_request",
                ),
            ),
        ),
    ),
    Guarantee(
        "only-granted-modules",
        (
            Mutant(
                "broker/nsbrokerd/sockets/kernel_support.py",
                "kinds = {kind for grant in policy.grants for kind in grant.kinds}",
                "kinds = {'sctp', *(kind for grant in policy.grants for kind in grant.kinds)}",
                ("tests/unit/broker/sockets/test_kernel_support.py::test_only_kinds_that_are_granted_are_tried",),
            ),
        ),
    ),
    Guarantee(
        "missing-kinds-are-named",
        (
            Mutant(
                "broker/nsbrokerd/sockets/batch.py",
                "raise OpenError(planned.position, OSError(number, why_unsupported(planned.kind, number)))",
                "raise OpenError(planned.position, OSError(number, ''))",
                ("tests/kernel/broker/sockets/test_sctp.py::test_kernel_without_sctp_is_told_what_is_missing",),
            ),
        ),
    ),
)
