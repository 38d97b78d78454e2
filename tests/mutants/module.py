"""The client's rooms `module`, `drivers` and `place`: the sockets of a `Namespace`."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

GUARANTEES = (
    Guarantee(
        "streams-are-plain",
        (
            Mutant(
                "client/nsbroker/place/connecting.py",
                "    [sock] = await place.open(plain_socket, (spec,))\n",
                "    own = type('own', (socket.socket,), {})\n"
                "    [sock] = await place.open(lambda spec, fd: own(fileno=fd), (spec,))\n",
                ("tests/local/client/module/test_namespace.py::test_streams_are_plain_sockets",),
            ),
            Mutant(
                "client/nsbroker/module/namespace.py",
                "        return run(self._place.open(plain_socket, (spec,)))[0]\n",
                "        return self.socket(fileno=run(self._place.open(plain_socket, (spec,)))[0].detach())\n",
                (
                    "tests/local/client/module/test_namespace.py::test_streams_are_plain_sockets",
                    "tests/local/client/module/test_namespace.py::test_streams_go_to_a_process_of_multiprocessing",
                ),
            ),
            Mutant(
                "client/nsbroker/module/sockets.py",
                "    def setsockopt(self, *args: Any) -> None:\n",
                "    def accept(self):\n"
                "        fd, address = self._accept()\n"
                "        return type(self)(self.family, self.type, self.proto, fd), address\n\n"
                "    def setsockopt(self, *args: Any) -> None:\n",
                (
                    "tests/local/client/module/test_namespace.py"
                    "::test_accepted_socket_is_plain_whatever_the_class_of_its_listener",
                ),
            ),
        ),
    ),
    Guarantee(
        "options-from-birth",
        (
            Mutant(
                "client/nsbroker/place/place.py",
                "        options = self._options.get(family, ())\n",
                "        options = ()\n",
                (
                    "tests/local/client/module/test_namespace.py::test_options_of_a_namespace_come_from_the_broker",
                    "tests/kernel/client/module/test_options.py::test_every_socket_of_a_namespace_has_its_options",
                ),
            ),
            Mutant(
                "client/nsbroker/module/namespace.py",
                "            at_birth=plain.options,\n",
                "",
                ("tests/kernel/client/module/test_options.py::test_every_socket_of_a_namespace_has_its_options",),
            ),
            Mutant(
                "client/nsbroker/place/listening.py",
                "options=spec.options + options\n",
                "options=options\n",
                ("tests/local/client/module/test_namespace.py::test_options_of_a_namespace_come_from_the_broker",),
            ),
            Mutant(
                "client/nsbroker/place/datagrams.py",
                "options=add_options(spec.options, options))",
                "options=tuple(options))",
                ("tests/local/client/module/test_namespace.py::test_options_of_a_namespace_come_from_the_broker",),
            ),
            Mutant(
                "client/nsbroker/place/options.py",
                "    if sock.getsockopt(level, name) & _MAX_MARK == value:\n        return\n",
                "",
                ("tests/kernel/client/module/test_options.py::test_option_can_be_set_again_to_its_value_only",),
            ),
        ),
    ),
    Guarantee(
        "impossible-sockets",
        (
            Mutant(
                "client/nsbroker/module/sockets.py",
                "            if impossible := kernel_error(family, type, spec.proto):\n"
                "                raise impossible from error\n",
                "",
                ("tests/kernel/client/module/test_socket_errors.py::test_impossible_socket_fails_as_inside",),
            ),
            Mutant(
                "client/nsbroker/place/kernel_errors.py",
                "        if (family, type & ~_FLAGS, proto) not in KIND_OF_TRIPLE:\n",
                "        if proto != 132:\n",
                (
                    "tests/kernel/client/module/test_socket_errors.py::test_kernel_is_not_asked_about_kinds_of_the_policy",
                ),
            ),
        ),
    ),
    Guarantee(
        "addresses-are-waited-for",
        (
            Mutant(
                "client/nsbroker/place/binding.py",
                "or monotonic() >= deadline:",
                "or monotonic() >= 0:",
                (
                    "tests/kernel/client/module/test_options.py::test_address_that_comes_later_is_waited_for[10.98.0.1]",
                    "tests/kernel/client/module/test_options.py::test_address_that_does_not_come_is_the_kernels_error",
                ),
            ),
            Mutant(
                "client/nsbroker/place/binding.py",
                "_MISSING = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV})",
                "_MISSING = frozenset({errno.EADDRNOTAVAIL})",
                (
                    "tests/kernel/client/module/test_options.py::test_address_that_comes_later_is_waited_for[fe80::98%late]",
                ),
            ),
            Mutant(
                "client/nsbroker/place/listening.py",
                "wait_for_addresses=len(wanted) == 1)",
                "wait_for_addresses=True)",
                ("tests/unit/client/place/test_binding.py::test_one_of_several_addresses_is_not_waited_for",),
            ),
        ),
    ),
    Guarantee(
        "interfaces-are-inside",
        (
            Mutant(
                "client/nsbroker/place/binding.py",
                "= interface_index(sock, name)",
                "= socket.if_nametoindex(name)",
                ("tests/kernel/client/module/test_options.py::test_addresses_name_interfaces_of_the_namespace",),
            ),
            Mutant(
                "client/nsbroker/names/numeric.py",
                "scope_id or interface_index(sock, scope)",
                "scope_id or socket.if_nametoindex(scope)",
                ("tests/kernel/client/module/test_options.py::test_addresses_name_interfaces_of_the_namespace",),
            ),
        ),
    ),
)
