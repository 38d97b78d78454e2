"""Changes that break the adapters for MQTT and AWS: a part of the guarantee `adapters-stay-inside`."""

from __future__ import annotations

from .guarantee import Mutant

_BOTO3 = "tests/adapters/test_boto3.py"
_MQTT = "tests/adapters/test_mqtt.py"

CLOUDS_AND_MESSAGES = (
    Mutant(
        "client/nsbroker/adapters/paho.py",
        "paho.mqtt.client._socketpair_compat = _wake_up_pair\n",
        "",
        (f"{_MQTT}::test_connection_comes_from_the_namespace[tcp]",),
    ),
    Mutant(
        "client/nsbroker/adapters/paho.py",
        "answer = Resolver(self._namespace).resolve(",
        "answer = dns.resolver.resolve(",
        (f"{_MQTT}::test_service_is_looked_up_inside[tcp]",),
    ),
    Mutant(
        "client/nsbroker/adapters/paho.py",
        "    if type(client) is not paho.mqtt.client.Client:\n",
        "    if not isinstance(client, paho.mqtt.client.Client):\n",
        (f"{_MQTT}::test_client_of_another_class_is_refused",),
    ),
    Mutant(
        "client/nsbroker/adapters/aiomqtt.py",
        "        paho.move(self._client, namespace)\n",
        "",
        (f"{_MQTT}::test_connection_of_aiomqtt_comes_from_the_namespace[in_plain_loop-tcp]",),
    ),
    Mutant(
        "client/nsbroker/adapters/botocore.py",
        "        return none if config is None else config.merge(none)\n",
        "        return config\n",
        (f"{_BOTO3}::test_request_comes_from_the_namespace[http://s3.example.org:9002-boto3]",),
    ),
    Mutant(
        "client/nsbroker/adapters/botocore.py",
        "        self._move(fetcher._session)\n",
        "",
        (f"{_BOTO3}::test_credentials_of_the_instance_are_asked_for_inside",),
    ),
    Mutant(
        "client/nsbroker/adapters/botocore.py",
        "            self._move_fetcher(provider._fetcher)\n",
        "            pass\n",
        (f"{_BOTO3}::test_credentials_of_the_container_are_asked_for_inside",),
    ),
    Mutant(
        "client/nsbroker/adapters/botocore.py",
        "fetcher = self._move_fetcher(botocore.utils.IMDSRegionProvider(session=self)._create_fetcher())",
        "fetcher = botocore.utils.IMDSRegionProvider(session=self)._create_fetcher()",
        (f"{_BOTO3}::test_region_of_the_instance_is_asked_for_inside",),
    ),
    Mutant(
        "client/nsbroker/adapters/botocore.py",
        "[self._move_provider(each) for each in make(*args, **kwargs)]",
        "make(*args, **kwargs)",
        (f"{_BOTO3}::test_process_for_credentials_is_refused_by_name[profile of a role]",),
    ),
    Mutant(
        "client/nsbroker/adapters/botocore.py",
        "elif kind.__name__ not in _HARMLESS_PROVIDERS:",
        "elif not kind.__name__:",
        (f"{_BOTO3}::test_later_version_with_another_provider_is_refused",),
    ),
    Mutant(
        "client/nsbroker/adapters/botocore.py",
        '        if self.get_config_variable("csm_enabled"):\n',
        '        if self.get_config_variable("csm_enabled") is None:\n',
        (f"{_BOTO3}::test_monitoring_is_refused_by_name",),
    ),
    Mutant(
        "client/nsbroker/adapters/botocore.py",
        "        client._get_credentials = _refuse_crt\n",
        "",
        (f"{_BOTO3}::test_transfer_by_the_crt_is_refused_by_name[boto3]",),
    ),
)
