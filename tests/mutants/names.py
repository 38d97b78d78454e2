"""The client's rooms `names`, `module` and `adapters`: nothing leaks by name."""

from __future__ import annotations

from .adapters import CLOUDS_AND_MESSAGES
from .guarantee import Guarantee, Mutant

GUARANTEES = (
    Guarantee(
        "names-are-looked-up-inside",
        (
            Mutant(
                "client/nsbroker/names/numeric.py",
                "        return address\n    raise name_error(host)\n",
                "        return address\n    return host\n",
                ("tests/unit/client/names/test_numeric.py",),
            ),
            Mutant(
                "client/nsbroker/module/sockets.py",
                "        super().connect(self._numeric(address))\n",
                "        super().connect(address)\n",
                (
                    "tests/local/client/module/test_namespace.py::test_every_call_finds_a_name_as_it_is_looked_up_in_the_namespace",
                ),
            ),
            Mutant(
                "client/nsbroker/place/binding.py",
                "        if is_name(host, spec.family):\n",
                "        if False:\n",
                ("tests/unit/client/place/test_binding.py::test_host_is_looked_up_in_its_namespace",),
            ),
            Mutant(
                "client/nsbroker/module/tls.py",
                "            super().connect(self._numeric(addr))\n",
                "            super().connect(addr)\n",
                (
                    "tests/local/client/module/test_namespace.py::test_tls_socket_finds_a_name_as_it_is_looked_up_in_the_namespace",
                ),
            ),
            Mutant(
                "client/nsbroker/module/passthrough.py",
                "if name in _PASSED and value is not None:",
                "if value is not None:",
                ("tests/unit/client/test_package.py::test_the_rest_of_the_module_is_not_there",),
            ),
        ),
    ),
    Guarantee(
        "hosts-come-first",
        (
            Mutant(
                "client/nsbroker/names/files/nsswitch.py",
                '(Source("files"), Source("dns"))',
                '(Source("dns"), Source("files"))',
                ("tests/unit/client/names/test_getaddrinfo.py::test_hosts_file_comes_before_dns",),
            ),
            Mutant(
                "client/nsbroker/names/sources.py",
                """is_localhost(name) and name.removesuffix(".") not in configuration.hosts""",
                "is_localhost(name)",
                (
                    "tests/unit/client/names/test_getaddrinfo.py::test_hosts_file_comes_before_the_built_in_addresses_of_localhost",
                ),
            ),
            Mutant(
                "client/nsbroker/names/numeric.py",
                "        return address\n    raise name_error(host)\n",
                "        return address\n    if host == 'localhost':\n        return '::1'\n"
                "    raise name_error(host)\n",
                ("tests/unit/client/names/test_numeric.py::test_name_is_refused_with_the_usual_code",),
            ),
        ),
    ),
    Guarantee(
        "names-are-glibcs",
        (
            Mutant(
                "client/nsbroker/names/sources.py",
                "        if status in source.last_after:\n            break\n",
                "        if status == SUCCESS:\n            break\n",
                ("tests/unit/client/names/test_getaddrinfo.py::test_sources_are_asked_in_the_order_of_nsswitch_conf",),
            ),
            Mutant(
                "client/nsbroker/names/files/configuration.py",
                "        resolv_conf.parse(files.resolv_conf, hostname(), variables),",
                "        resolv_conf.parse(files.resolv_conf, hostname(), {}),",
                (
                    "tests/unit/client/names/files/test_configuration.py::test_environment_overrides_the_files",
                    "tests/unit/client/names/files/test_configuration.py::test_changed_environment_is_read_like_a_changed_file",
                ),
            ),
            Mutant(
                "client/nsbroker/names/files/hosts.py",
                "            aliases += line.names[1:]\n",
                "            pass\n",
                ("tests/unit/client/names/files/test_hosts.py::test_aliases_are_those_of_all_lines",),
            ),
            Mutant(
                "client/nsbroker/names/gethostby.py",
                "    except socket.gaierror as error:\n        raise herror(error) from error\n    if host.addresses",
                "    except socket.gaierror:\n        raise\n    if host.addresses",
                ("tests/unit/client/names/test_gethostby.py::test_address_without_a_name_is_an_herror",),
            ),
            Mutant(
                "client/nsbroker/names/interfaces.py",
                '        return _is_reachable(sock, "::1")\n',
                "        return True\n",
                ("tests/kernel/client/names/test_glibc.py::test_every_way_has_the_answers_of_glibc[no IPv6]",),
            ),
        ),
    ),
    Guarantee(
        "search-list",
        (
            Mutant(
                "client/nsbroker/names/dns/search.py",
                "    searched = await _search_list(servers, bare, record_types, settings.search)\n    has_root",
                "    searched = await _search_list(servers, bare, record_types, settings.search[::-1])\n    has_root",
                ("tests/unit/client/names/dns/test_search.py::test_search_list_is_tried_in_glibcs_order",),
            ),
            Mutant(
                "client/nsbroker/names/dns/search.py",
                "dots >= settings.ndots:",
                "dots >= 1:",
                ("tests/unit/client/names/dns/test_search.py::test_search_list_is_tried_in_glibcs_order",),
            ),
        ),
    ),
    Guarantee(
        "dns-over-tcp",
        (
            Mutant(
                "client/nsbroker/names/dns/servers.py",
                "if transport == UDP else []",
                "if transport == TCP else []",
                ("tests/unit/client/names/dns/test_servers.py::test_cut_answer_is_asked_for_again_by_tcp",),
            ),
            Mutant(
                "client/nsbroker/names/dns/servers.py",
                "            if outcome is not None:\n                break\n",
                "            if outcome is not None or transport == UDP:\n                break\n",
                ("tests/unit/client/names/dns/test_servers.py::test_grant_of_tcp_alone_is_enough",),
            ),
        ),
    ),
    Guarantee(
        "dns-answers-match",
        (
            Mutant(
                "client/nsbroker/names/dns/questions.py",
                "for question in [question for question in waiting if is_answer(question, message)]:",
                "for question in [question for question in waiting if is_answer(question, message) or "
                "len(message) > 2]:",
                ("tests/unit/client/names/dns/test_servers.py::test_packets_that_answer_nothing_are_passed_over",),
            ),
            Mutant(
                "client/nsbroker/names/dns/servers.py",
                "self._random_id = random_id or _random_id",
                "self._random_id = random_id or iter(range(65536)).__next__",
                ("tests/unit/client/names/dns/test_servers.py::test_ids_of_questions_can_not_be_guessed",),
            ),
        ),
    ),
    Guarantee(
        "dns-answers-are-cheap",
        (
            Mutant(
                "client/nsbroker/names/dns/messages.py",
                "        labels += len(owner)\n",
                "",
                ("tests/unit/client/names/dns/test_messages.py::test_names_of_an_answer_are_bounded",),
            ),
            Mutant(
                "client/nsbroker/names/dns/messages.py",
                "                labels += len(target)\n",
                "",
                ("tests/unit/client/names/dns/test_messages.py::test_names_of_pointers_are_bounded",),
            ),
        ),
    ),
    Guarantee(
        "three-name-servers",
        (
            Mutant(
                "client/nsbroker/names/files/resolv_conf.py",
                "servers=tuple(servers[:MAX_SERVERS])",
                "servers=tuple(servers)",
                ("tests/unit/client/names/files/test_resolv_conf.py::test_no_more_than_three_servers_count",),
            ),
        ),
    ),
    Guarantee(
        "order-of-rfc-6724",
        (
            Mutant(
                "client/nsbroker/names/order.py",
                "        or second.scope_matches - first.scope_matches",
                "        or 0 * (second.scope_matches - first.scope_matches)",
                ("tests/unit/client/names/test_order.py::test_examples_of_the_rfc",),
            ),
            Mutant(
                "client/nsbroker/names/getaddrinfo.py",
                "for each in addresses], sources, rules)",
                "for each in addresses], sources)",
                ("tests/unit/client/names/test_getaddrinfo.py::test_dns_answers_come_in_the_order_of_rfc_6724",),
            ),
        ),
    ),
    Guarantee(
        "files-are-read-anew",
        (
            Mutant(
                "client/nsbroker/names/resolver.py",
                "if kept and self._clock() < kept[0]:",
                "if kept:",
                ("tests/unit/client/names/files/test_configuration.py::test_configuration_is_fresh_for_a_few_seconds",),
            ),
        ),
    ),
    Guarantee(
        "adapters-stay-inside",
        (
            Mutant(
                "client/nsbroker/adapters/_asyncio_loop.py",
                "return await run(self._place.getaddrinfo(host, port, family, type, proto, flags))",
                "return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)",
                ("tests/adapters/test_asyncio.py::test_whole_loop_is_in_the_namespace",),
            ),
            Mutant(
                "client/nsbroker/adapters/_asyncio_loop.py",
                "                if not await run(self._place.has(sock)):\n                    raise\n",
                "",
                ("tests/adapters/test_loop_guard.py::test_name_for_a_plain_socket_of_another_namespace_is_refused",),
            ),
            Mutant(
                "client/nsbroker/adapters/aiohttp.py",
                "                if self._own_address is not None:\n",
                "                if self._own_address == 0:\n",
                ("tests/adapters/test_loop_guard.py::test_own_address_of_aiohttp_is_bound_to",),
            ),
            Mutant(
                "client/nsbroker/adapters/requests.py",
                'for prefix in ("http://", "https://"):',
                'for prefix in ("http://www.example.org:80", "https://"):',
                ("tests/adapters/test_http_clients.py::test_redirect_stays_inside[Requests]",),
            ),
            Mutant(
                "client/nsbroker/adapters/_namespace.py",
                "    if missing:\n",
                "    if len(missing) > 1:\n",
                ("tests/adapters/test_hooks.py::test_missing_hook_is_refused",),
            ),
            Mutant(
                "client/nsbroker/adapters/urllib3.py",
                'if hasattr(urllib3, "AsyncPoolManager"):',
                'if hasattr(urllib3, "NoSuchPoolManager"):',
                ("tests/adapters/test_hooks.py::test_urllib3_future_is_refused[urllib3]",),
            ),
            Mutant(
                "client/nsbroker/adapters/aiohttp.py",
                "if kwargs.pop(name, None) is not None:",
                "if kwargs.pop(name, None) is Ellipsis:",
                ("tests/adapters/test_aiohttp.py::test_arguments_that_would_lead_outside_are_refused_with_the_reason",),
            ),
            *CLOUDS_AND_MESSAGES,
        ),
    ),
    Guarantee(
        "adapters-set-options",
        (
            Mutant(
                "client/nsbroker/module/namespace.py",
                "privileged, others = split_privileged(options)",
                "privileged, others = (), list(options)",
                ("tests/adapters/test_privileged_options.py::test_connection_has_the_mark_from_birth[urllib3]",),
            ),
            Mutant(
                "client/nsbroker/adapters/httpcore.py",
                "local_host=local_address, options=privileged)",
                "local_host=local_address)",
                ("tests/adapters/test_privileged_options.py::test_connection_has_the_mark_from_birth[httpx_on_trio]",),
            ),
            Mutant(
                "client/nsbroker/adapters/_anyio_tcp.py",
                "at_birth=birth.options,",
                "at_birth=(),",
                (
                    "tests/adapters/test_docstring_examples.py::test_every_socket_has_the_mark_of_its_namespace"
                    "[nsbroker.adapters.anyio.create_tcp_listener]",
                ),
            ),
        ),
    ),
    Guarantee(
        "pickled-namespaces",
        (
            Mutant(
                "client/nsbroker/module/namespace.py",
                "if isinstance(self._place.namespace, int):",
                "if isinstance(self._place.namespace, float):",
                ("tests/unit/client/test_pickling.py::test_descriptor_can_not_be_pickled",),
            ),
            Mutant(
                "client/nsbroker/module/namespace.py",
                "partial(type(self), self._place.namespace, **self._arguments)",
                "partial(type(self), self._place.namespace)",
                ("tests/unit/client/test_pickling.py::test_pickled_namespace_has_the_same_arguments",),
            ),
        ),
    ),
    Guarantee(
        "pyroute2-stays-inside",
        (
            Mutant(
                "client/nsbroker/adapters/pyroute2.py",
                'number = spec["fileno"] = made.detach()',
                "number = made.detach()",
                ("tests/adapters/test_pyroute2.py::test_links_are_those_of_the_namespace",),
            ),
            Mutant(
                "client/nsbroker/adapters/pyroute2.py",
                "if sock.fileno() != number:",
                "if sock.fileno() < 0:",
                ("tests/adapters/test_pyroute2.py::test_version_that_makes_its_own_sockets_is_refused",),
            ),
            Mutant(
                "client/nsbroker/adapters/pyroute2.py",
                "if not isinstance(made, AsyncInside):",
                "if isinstance(made, pyroute2.AsyncIPRoute):",
                ("tests/adapters/test_pyroute2.py::test_subclasses_are_inside",),
            ),
            Mutant(
                "client/nsbroker/adapters/pyroute2.py",
                "if made._AsyncCoreSocket__open_sockets:",
                "if made is None:",
                ("tests/adapters/test_pyroute2.py::test_object_with_sockets_outside_is_refused",),
            ),
            Mutant(
                "client/nsbroker/adapters/pyroute2.py",
                "if options.get(name) is not None:",
                "if options.get(name) is True:",
                ("tests/adapters/test_pyroute2.py::test_options_that_lead_out_are_refused",),
            ),
            Mutant(
                "client/nsbroker/adapters/pyroute2.py",
                "self.request_proxy and _Proxy()",
                "self.request_proxy",
                ("tests/adapters/test_pyroute2.py::test_requests_that_pyroute2_carries_out_itself_are_refused",),
            ),
            Mutant(
                "client/nsbroker/adapters/pyroute2.py",
                "        [self.sock] = run_in_thread",
                "        _ = run_in_thread",
                ("tests/adapters/test_pyroute2.py::test_ethtool_asks_by_ioctl_inside",),
            ),
        ),
    ),
)
