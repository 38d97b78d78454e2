"""The client's room `guards`, and the guards of `patching` and of event loops: no code of the process leaves."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

_GUARD = "tests/unit/client/guards/test_guard.py"
_PATCH = "tests/kernel/client/patching/test_patch.py"
_LOOP = "tests/adapters/test_loop_guard.py"

GUARANTEES = (
    Guarantee(
        "patch-covers-libraries-in-c",
        (
            Mutant(
                "client/nsbroker/guards/guard.py",
                '            "ctypes.dlopen": self._on_dlopen,\n',
                "",
                (f"{_GUARD}::test_library_that_connects_is_refused_before_it_is_loaded[CDLL]",),
            ),
            Mutant(
                "client/nsbroker/guards/guard.py",
                '            "import": self._on_import,\n',
                "",
                (f"{_GUARD}::test_extension_module_of_any_name_is_refused_if_it_connects[True]",),
            ),
            Mutant(
                "client/nsbroker/guards/guard.py",
                '                self._refuse_object(spec.origin or "", name)\n        self._refuse_mapped()\n',
                '                self._refuse_object(spec.origin or "", name)\n',
                (f"{_GUARD}::test_library_that_was_loaded_before_is_refused",),
            ),
            Mutant(
                "client/nsbroker/guards/guard.py",
                "        if self._has_loaded_unknown:  #",
                "        if self._has_loaded_unknown and not name:  #",
                (f"{_GUARD}::test_library_that_only_the_loader_finds_is_refused_at_its_first_function",),
            ),
            Mutant(
                "client/nsbroker/guards/guard.py",
                "        if is_of_c and str(name).encode()",
                "        if not is_of_c and str(name).encode()",
                (f"{_GUARD}::test_functions_of_the_c_library_are_refused_by_name",),
            ),
            Mutant(
                "client/nsbroker/guards/guard.py",
                "*shared_objects.names_in(path)})",
                "})",
                (f"{_GUARD}::test_library_of_an_allowed_name_is_let_through",),
            ),
            Mutant(
                "client/nsbroker/guards/shared_objects.py",
                "            if found is not None and found not in seen:\n",
                "            if found is not None and found not in seen and not seen:\n",
                (f"{_GUARD}::test_library_that_connects_is_refused_before_it_is_loaded[CDLL]",),
            ),
            Mutant(
                "client/nsbroker/guards/audit.py",
                "        _give_cffi_an_event()\n",
                "",
                (
                    f"{_GUARD}::test_library_that_connects_is_refused_before_it_is_loaded[load_by_cffi]",
                    f"{_GUARD}::test_library_that_connects_is_refused_before_it_is_loaded[load_by_cffi_without_compiler]",
                ),
            ),
            Mutant(
                "client/nsbroker/adapters/_asyncio_loop.py",
                "        guard.refuse_loaded()\n",
                "",
                (f"{_LOOP}::test_library_that_connects_in_c_is_refused_while_a_loop_exists",),
            ),
            Mutant(
                "client/nsbroker/adapters/_asyncio_loop.py",
                "        guard.start()\n",
                "",
                (f"{_LOOP}::test_library_that_connects_in_c_is_refused_while_a_loop_exists",),
            ),
        ),
    ),
    Guarantee(
        "patch-covers-the-c-library",
        (
            Mutant(
                "client/nsbroker/patching/bypass.py",
                '            "socket.__new__": self._on_socket,\n',
                "",
                (f"{_PATCH}::test_sockets_and_look_ups_beside_the_socket_module_are_refused",),
            ),
            Mutant(
                "client/nsbroker/guards/look_ups.py",
                '            "socket.getaddrinfo": self._on_name,\n',
                "",
                (f"{_PATCH}::test_sockets_and_look_ups_beside_the_socket_module_are_refused",),
            ),
            Mutant(
                "client/nsbroker/guards/plain_sockets.py",
                "    return _IN_C.connect_ex(self, _checked(self, address))\n",
                "    return _IN_C.connect_ex(self, address)\n",
                (f"{_PATCH}::test_sockets_and_look_ups_beside_the_socket_module_are_refused",),
            ),
        ),
    ),
    Guarantee(
        "patch-covers-the-resolver-files",
        (
            Mutant(
                "client/nsbroker/patching/__init__.py",
                "        for module in (builtins, io):\n",
                "        for module in (io,):\n",
                (f"{_PATCH}::test_resolver_files_have_the_text_of_the_namespace",),
            ),
            Mutant(
                "client/nsbroker/guards/look_ups.py",
                '            "open": self._on_open,\n',
                "",
                (
                    f"{_PATCH}::test_resolver_files_have_the_text_of_the_namespace",
                    f"{_LOOP}::test_library_is_refused_by_name_before_it_leaves[ask_by_dnspython-www.example.org]",
                ),
            ),
            Mutant(
                "client/nsbroker/patching/files.py",
                "files.resolv_conf if name == RESOLV_CONF else files.hosts",
                "files.resolv_conf",
                (f"{_PATCH}::test_resolver_files_have_the_text_of_the_namespace",),
            ),
        ),
    ),
    Guarantee(
        "patch-covers-children",
        (
            Mutant(
                "client/nsbroker/patching/__init__.py",
                '        self._replace(spawn, "get_preparation_data", children.get_preparation_data)\n',
                "",
                (f"{_PATCH}::test_children_of_multiprocessing_are_in_the_namespace",),
            ),
            Mutant(
                "client/nsbroker/patching/children.py",
                "DupFd(place.namespace) if isinstance(place.namespace, int) else place.namespace",
                "place.namespace",
                (f"{_PATCH}::test_children_of_multiprocessing_are_in_the_namespace[descriptor]",),
            ),
            Mutant(
                "client/nsbroker/patching/bypass.py",
                'for name in ("_interpreters", "_xxsubinterpreters"):',
                "for name in ():",
                (f"{_PATCH}::test_other_interpreter_is_refused",),
            ),
        ),
    ),
    Guarantee(
        "loop-takes-no-own-sockets",
        (
            Mutant(
                "client/nsbroker/adapters/_asyncio_loop.py",
                "        self._guard.refuse_own(fd)\n        return super().add_reader",
                "        return super().add_reader",
                (f"{_LOOP}::test_loop_takes_no_socket_of_the_programs_own_namespace",),
            ),
            Mutant(
                "client/nsbroker/adapters/_asyncio_loop.py",
                "        self._guard.refuse_own(sock)\n        return await getattr",
                "        return await getattr",
                (f"{_LOOP}::test_loop_takes_no_socket_of_the_programs_own_namespace",),
            ),
            Mutant(
                "client/nsbroker/adapters/_asyncio_loop.py",
                "        self._guard.refuse_own(sock)\n        await super().sock_connect",
                "        await super().sock_connect",
                (f"{_LOOP}::test_loop_takes_no_socket_of_the_programs_own_namespace",),
            ),
            Mutant(
                "client/nsbroker/adapters/_asyncio_guard.py",
                "        if sock.gettimeout() == 0 and",
                "        if sock.gettimeout() == 9 and",
                (f"{_LOOP}::test_library_is_refused_by_name_before_it_leaves",),
            ),
            Mutant(
                "client/nsbroker/adapters/_asyncio_guard.py",
                " and calling_library() in PASS_OWN_SOCKETS:\n",
                " and calling_library() in ():\n",
                ("tests/adapters/test_guard.py::test_library_is_inside_or_refused[hypercorn-loop]",),
            ),
            Mutant(
                "client/nsbroker/adapters/_asyncio_guard.py",
                "file if isinstance(file, int) else file.fileno()",
                "file.fileno()",
                (f"{_LOOP}::test_loop_takes_no_socket_of_the_programs_own_namespace",),
            ),
            Mutant(
                "client/nsbroker/adapters/_asyncio_guard.py",
                "        return bool(self._allowed) and socket_cookie(sock) in self._allowed\n",
                "        return False\n",
                (f"{_LOOP}::test_socket_that_you_allow_or_pass_is_used",),
            ),
            Mutant(
                "client/nsbroker/adapters/_asyncio_guard.py",
                "            if _on_socket(sock, lambda sock: run(self._place.has(sock))):\n                return\n",
                "            _on_socket(sock, lambda sock: run(self._place.has(sock)))\n",
                (
                    "tests/kernel/client/adapters/test_asyncio_loop.py::test_loop_of_the_programs_own_namespace_takes_its_sockets",
                ),
            ),
        ),
    ),
    Guarantee(
        "loop-looks-up-inside",
        (
            Mutant(
                "client/nsbroker/adapters/_asyncio_guard.py",
                "        _working.guard = self\n        try:",
                "        try:",
                (f"{_LOOP}::test_library_is_refused_by_name_before_it_leaves[look_up_in_a_thread-www.example.org]",),
            ),
            Mutant(
                "client/nsbroker/guards/plain_sockets.py",
                "    _IN_C.connect(self, _checked(self, address))\n",
                "    _IN_C.connect(self, address)\n",
                (f"{_LOOP}::test_library_is_refused_by_name_before_it_leaves[connect_blocking-www.example.org]",),
            ),
            Mutant(
                "client/nsbroker/adapters/_asyncio_guard.py",
                "        return super()._is_refused() and not self._is_at_home()\n",
                "        return super()._is_refused()\n",
                (
                    "tests/kernel/client/adapters/test_asyncio_loop.py::test_loop_of_the_programs_own_namespace_takes_its_sockets",
                ),
            ),
            Mutant(
                "client/nsbroker/guards/look_ups.py",
                '            "socket.gethostbyname": self._on_name,\n',
                "",
                (f"{_LOOP}::test_library_is_refused_by_name_before_it_leaves[ask_by_puresnmp-www.example.org]",),
            ),
        ),
    ),
    Guarantee(
        "loop-threads-stay-inside",
        (
            Mutant(
                "client/nsbroker/adapters/_asyncio_guard.py",
                'if getattr(_working, "guard", None) is self and',
                'if getattr(_working, "guard", None) is None and',
                (
                    f"{_LOOP}::test_library_is_refused_by_name_before_it_leaves[connect_by_aiomqtt-127.0.0.1]",
                    f"{_LOOP}::test_library_is_refused_by_name_before_it_leaves[send_in_a_thread-127.0.0.1]",
                ),
            ),
        ),
    ),
)
