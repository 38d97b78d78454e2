"""botocore in a namespace: its clients, and the services that it asks for credentials and for its region.

boto3 uses botocore: take `nsbroker.adapters.boto3` for it.
"""

from __future__ import annotations

import inspect
from typing import Any, NoReturn

import botocore.awsrequest
import botocore.client
import botocore.config
import botocore.configprovider
import botocore.credentials
import botocore.exceptions
import botocore.httpsession
import botocore.session
import botocore.utils

from ._namespace import InNamespace, NamespaceLike, require
from .urllib3 import pools_inside

__all__ = ["Session"]

require(botocore.httpsession.URLLib3Session(), "_manager", "_pool_classes_by_scheme", "_proxy_config")
require(botocore.session.Session, "_create_credential_resolver", "_register_smart_defaults_factory")
require(botocore.session.Session, "_create_csm_monitor", "_get_internal_component")
require(botocore.client.BaseClient, "_get_credentials")
require(botocore.utils.IMDSRegionProvider, "_create_fetcher")

_HARMLESS_PROVIDERS = frozenset({
    "AssumeRoleWithWebIdentityProvider", "BotoProvider", "ConfigProvider", "EnvProvider", "LoginProvider",
    "OriginalEC2Provider", "SSOProvider", "SharedCredentialProvider",
})  # fmt: skip
"""Providers of credentials that read files and variables, or ask by clients of their session."""


class Session(InNamespace, botocore.session.Session):
    """`botocore.session.Session` in a namespace.

    Credentials that are not in the environment or in a file come from services in the namespace, also those of an
    instance and of a container (169.254.169.254 and 169.254.170.2). Proxies of the environment are not used. The client
    connects from the namespace to a proxy that you name in a `Config`.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        args: as for `botocore.session.Session`.
        kwargs: the same by name.

    Example:
        >>> session = Session("blue")
        >>> session.set_credentials("key", "secret")
        >>> s3 = session.create_client("s3", "eu-central-1", endpoint_url="https://s3.example.org:9000")
        >>> [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
        ['pictures']
        >>> s3.close()
    """

    def __init__(self, namespace: NamespaceLike, *args: Any, **kwargs: Any) -> None:
        own = {
            "http": botocore.awsrequest.AWSHTTPConnectionPool,
            "https": botocore.awsrequest.AWSHTTPSConnectionPool,
        }
        self._pools = pools_inside(namespace, own)
        super().__init__(namespace, *args, **kwargs)

    def create_client(self, *args: Any, **kwargs: Any) -> Any:
        """Return a client for a service.

        Args:
            args: as for `botocore.session.Session.create_client`.
            kwargs: the same by name.

        Raises:
            ValueError: client-side monitoring is switched on.
        """
        call = inspect.signature(super().create_client).bind(*args, **kwargs)
        call.arguments["config"] = self._with_proxies_of_its_own(call.arguments.get("config"))
        client = super().create_client(*call.args, **call.kwargs)
        self._move(client._endpoint.http_session)
        # Only boto3 asks for them, to pass them to the AWS CRT.
        client._get_credentials = _refuse_crt
        return client

    def _with_proxies_of_its_own(self, config: Any) -> Any:
        """Return a configuration with which botocore does not look for proxies in the environment."""
        configs = [each for each in (config, self.get_default_client_config()) if each is not None]
        if any(each.proxies is not None for each in configs):
            return config
        none = botocore.config.Config(proxies={})
        return none if config is None else config.merge(none)

    def _move(self, http_session: Any) -> None:
        """Let an HTTP session make its connections in the namespace, also those to proxies."""
        if type(http_session) is not botocore.httpsession.URLLib3Session:
            raise _unknown(http_session)
        http_session._pool_classes_by_scheme = self._pools
        http_session._manager.pool_classes_by_scheme = self._pools

    def _move_fetcher(self, fetcher: Any) -> Any:
        """Let an object that asks a metadata service do so in the namespace, without the environment's proxies."""
        self._move(fetcher._session)
        fetcher._session._proxy_config = botocore.httpsession.ProxyConfiguration()
        return fetcher

    def _create_credential_resolver(self) -> Any:
        resolver = super()._create_credential_resolver()
        for provider in resolver.providers:
            self._move_provider(provider)
        return resolver

    def _move_provider(self, provider: Any) -> Any:
        known = botocore.credentials
        kind = type(provider)
        if kind is known.InstanceMetadataProvider:
            self._move_fetcher(provider._role_fetcher)
        elif kind is known.ContainerProvider:
            self._move_fetcher(provider._fetcher)
        elif kind is known.ProcessProvider:
            provider._popen = _refuse_process
        elif kind is known.AssumeRoleProvider:
            # It makes the providers of the profile that it assumes a role for.
            builder = provider._profile_provider_builder
            make = builder.providers
            builder.providers = lambda *args, **kwargs: [self._move_provider(each) for each in make(*args, **kwargs)]
        elif kind.__name__ not in _HARMLESS_PROVIDERS:
            raise _unknown(provider)
        return provider

    def _register_smart_defaults_factory(self) -> None:
        def make() -> Any:
            fetcher = self._move_fetcher(botocore.utils.IMDSRegionProvider(session=self)._create_fetcher())
            region = botocore.utils.IMDSRegionProvider(session=self, fetcher=fetcher)
            defaults = self._get_internal_component("default_config_resolver")
            return botocore.configprovider.SmartDefaultsConfigStoreFactory(defaults, region)

        self._internal_components.lazy_register_component("smart_defaults_factory", make)

    def _create_csm_monitor(self) -> None:
        if self.get_config_variable("csm_enabled"):
            raise ValueError(
                "client-side monitoring sends datagrams in the program's own namespace, so a client in a namespace "
                "can't have it; switch it off: AWS_CSM_ENABLED=false"
            )


def _unknown(thing: object) -> ImportError:
    return ImportError(
        f"this version of botocore has a {type(thing).__qualname__}, whose connections can't be kept in a namespace; "
        "install another version"
    )


def _refuse_process(command: list[str], **_: object) -> NoReturn:
    raise botocore.exceptions.CredentialRetrievalError(
        provider=botocore.credentials.ProcessProvider.METHOD,
        error_msg=f"{command[0]} would run in the program's own namespace; run it yourself, and pass its credentials"
        " to the session",
    )


def _refuse_crt() -> NoReturn:
    raise NotImplementedError(
        "the AWS CRT makes its own sockets, so it can't transfer in a namespace: pass "
        'Config=TransferConfig(preferred_transfer_client="classic")'
    )
