"""botocore and boto3 in a namespace, with a small S3 that verifies signatures, and with metadata services."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import botocore.credentials
import botocore.session
import pytest
from botocore import exceptions
from botocore.config import Config

from nsbroker.adapters import boto3
from nsbroker.adapters import botocore as adapted
from support.adapters import s3_server
from support.adapters.example_org import (
    CLIENT,
    CLOSED_PORT,
    SERVER,
    SILENT_PORT,
    UNKNOWN,
    UNREACHABLE,
    UNTRUSTED,
    ExampleOrg,
)  # fmt: skip
from support.adapters.s3_server import BUCKET, CONTAINER_ADDRESS, CONTAINER_PATH, PORT, TLS_PORT
from support.adapters.web_server import PROXY_PORT
from support.inside import call_inside

PLAIN, TLS = f"http://{s3_server.HOST}:{PORT}", f"https://{s3_server.HOST}:{TLS_PORT}"
ONCE = {"retries": {"max_attempts": 0}, "connect_timeout": 20, "read_timeout": 20}
NO_CREDENTIALS = {"AWS_EC2_METADATA_DISABLED": "true"}

pytestmark = pytest.mark.usefixtures("s3")


def by_boto3(namespace: str, url: str, secret: str = "secret", **config: Any) -> Any:
    session = boto3.Session(namespace, "key", secret, region_name="eu-central-1")
    return session.client("s3", endpoint_url=url, config=Config(**{**ONCE, **config}))


def by_botocore(namespace: str, url: str, secret: str = "secret", **config: Any) -> Any:
    session = adapted.Session(namespace)
    session.set_credentials("key", secret)
    return session.create_client("s3", "eu-central-1", endpoint_url=url, config=Config(**{**ONCE, **config}))


Make = Callable[..., Any]
MAKERS = pytest.mark.parametrize("make", [by_boto3, by_botocore], ids=["boto3", "botocore"])


def read(client: Any, key: str) -> str:
    body: bytes = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return body.decode()


def ask(namespace: str, make: Make, url: str, keys: list[str], **config: Any) -> list[str]:
    client = make(namespace, url, **config)
    return [read(client, key) for key in keys]


@MAKERS
@pytest.mark.parametrize("url", [PLAIN, TLS, f"http://{SERVER}:{PORT}"])
def test_request_comes_from_the_namespace(site: ExampleOrg, make: Make, url: str) -> None:
    """A proxy of the environment would lead outside."""
    assert site.run(ask, make, url, ["peer"]) == [CLIENT]


@MAKERS
@pytest.mark.parametrize("url", [PLAIN, TLS])
def test_connection_is_kept_and_reused(site: ExampleOrg, make: Make, url: str) -> None:
    assert len(set(site.run(ask, make, url, ["connection"] * 2))) == 1


def transfer(namespace: str, url: str) -> tuple[bytes, bytes]:
    """By threads of boto3, and by a request that waits for "100 Continue"."""
    client = by_boto3(namespace, url)
    client.upload_fileobj(io.BytesIO(b"x" * 100_000), BUCKET, "by threads")
    client.put_object(Bucket=BUCKET, Key="waits", Body=b"y" * 100_000)
    made = io.BytesIO()
    client.download_fileobj(BUCKET, "by threads", made)
    return made.getvalue(), client.get_object(Bucket=BUCKET, Key="waits")["Body"].read()


@pytest.mark.parametrize("url", [PLAIN, TLS])
def test_files_are_transferred_from_the_namespace(site: ExampleOrg, url: str) -> None:
    up, waited = site.run(transfer, url, AWS_REQUEST_CHECKSUM_CALCULATION="when_required")
    assert (up, waited) == (b"x" * 100_000, b"y" * 100_000)


def fail(namespace: str, make: Make, error: type[Exception], url: str, **config: Any) -> str:
    with pytest.raises(error) as raised:
        make(namespace, url, **config).list_buckets()
    return str(raised.value)


@MAKERS
def test_errors_are_those_of_botocore(site: ExampleOrg, make: Make) -> None:
    assert "signature is wrong" in site.run(partial(fail, secret="wrong"), make, exceptions.ClientError, PLAIN)
    assert "doesn't match" in site.run(fail, make, exceptions.SSLError, f"https://{UNTRUSTED}:{TLS_PORT}")
    site.run(fail, make, exceptions.EndpointConnectionError, f"http://{UNKNOWN}:{PORT}")
    site.run(fail, make, exceptions.EndpointConnectionError, f"http://{s3_server.HOST}:{CLOSED_PORT}")


def fail_soon(namespace: str, make: Make, error: type[Exception], url: str) -> str:
    return fail(namespace, make, error, url, connect_timeout=0.2, read_timeout=0.2)


@MAKERS
def test_timeouts_fire(site: ExampleOrg, make: Make) -> None:
    site.run(fail_soon, make, exceptions.ConnectTimeoutError, f"http://{UNREACHABLE}:{PORT}")
    site.run(fail_soon, make, exceptions.ReadTimeoutError, f"http://{s3_server.HOST}:{SILENT_PORT}")


def fail_elsewhere(_: str, namespace: str, make: Make) -> str:
    return fail(namespace, make, exceptions.EndpointConnectionError, PLAIN)


@MAKERS
def test_namespace_that_the_policy_does_not_grant_is_an_error(site: ExampleOrg, make: Make) -> None:
    site.run(fail_elsewhere, site.server, make)


@MAKERS
@pytest.mark.usefixtures("web")
def test_proxy_of_the_program_is_reached_inside(site: ExampleOrg, make: Make) -> None:
    """The program's own configuration names it."""
    proxies = {"http": f"http://{UNTRUSTED}:{PROXY_PORT}"}
    [answer] = site.run(partial(ask, proxies=proxies), make, "http://elsewhere.example", ["x"])
    assert answer.startswith(f"{CLIENT} asks for http://elsewhere.example/")


def ask_with_a_default(namespace: str) -> str:
    session = adapted.Session(namespace)
    session.set_credentials("key", "secret")
    session.set_default_client_config(Config(proxies={"http": f"http://{UNTRUSTED}:{PROXY_PORT}"}))
    return read(session.create_client("s3", "eu-central-1", endpoint_url="http://elsewhere.example"), "x")


@pytest.mark.usefixtures("web")
def test_proxy_of_the_sessions_configuration_is_reached_inside(site: ExampleOrg) -> None:
    assert site.run(ask_with_a_default).startswith(f"{CLIENT} asks for http://elsewhere.example/")


def ask_without_keys(namespace: str) -> str:
    session = boto3.Session(namespace, region_name="eu-central-1")
    client = session.client("s3", endpoint_url=PLAIN, config=Config(**ONCE))
    return f"{session.get_credentials().access_key} {read(client, 'peer')}"


def seen(site: ExampleOrg) -> list[str]:
    """The paths that the server was asked for."""
    found: list[str] = call_inside(site.server, get_seen)
    return found


def get_seen() -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{SERVER}:{PORT}/seen", timeout=20) as answer:
        return json.loads(answer.read())


INSTANCE = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{PLAIN}/"}


def test_credentials_of_the_instance_are_asked_for_inside(site: ExampleOrg) -> None:
    assert site.run(ask_without_keys, **INSTANCE) == f"instance {CLIENT}"


def test_metadata_service_is_never_asked_outside(site: ExampleOrg) -> None:
    """At its usual address, where nothing answers inside. Outside, each packet counts."""

    def try_it(namespace: str) -> None:
        with pytest.raises(exceptions.NoCredentialsError):
            by_nobody(namespace).list_buckets()

    site.run(try_it)


def by_nobody(namespace: str) -> Any:
    return boto3.Session(namespace, region_name="eu-central-1").client("s3", endpoint_url=PLAIN)


def test_credentials_of_the_container_are_asked_for_inside(site: ExampleOrg) -> None:
    uri = f"http://{CONTAINER_ADDRESS}:{PORT}{CONTAINER_PATH}"
    assert site.run(ask_without_keys, AWS_CONTAINER_CREDENTIALS_FULL_URI=uri) == f"container {CLIENT}"


def configure(site: ExampleOrg, text: str) -> dict[str, str]:
    """The environment with a configuration for AWS, whose own profile is `mine`."""
    path: Path = site.directory / "aws.conf"
    path.write_text(text)
    return {**NO_CREDENTIALS, "AWS_CONFIG_FILE": str(path), "AWS_PROFILE": "mine"}


def test_role_is_asked_for_inside(site: ExampleOrg) -> None:
    """With the credentials of the instance."""
    role = "[profile mine]\nrole_arn = arn:aws:iam::123456789012:role/x\ncredential_source = Ec2InstanceMetadata\n"
    environment = configure(site, role) | INSTANCE | {"AWS_ENDPOINT_URL_STS": f"{PLAIN}/sts"}
    del environment["AWS_EC2_METADATA_DISABLED"]
    assert site.run(ask_without_keys, **environment) == f"role {CLIENT}"


def test_region_of_the_instance_is_asked_for_inside(site: ExampleOrg) -> None:
    """With the defaults "auto", botocore wants to know whether it runs in the region that it connects to."""

    def try_it(namespace: str) -> str:
        return read(by_boto3(namespace, PLAIN, defaults_mode="auto"), "peer")

    before = seen(site)
    assert site.run(try_it, **INSTANCE) == CLIENT
    assert s3_server.ZONE in seen(site)[len(before) :]


PROCESS = "[profile {}]\ncredential_process = /bin/touch {}\n"
OF_A_ROLE = "[profile mine]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = other\n"


@pytest.mark.parametrize("role", ["", OF_A_ROLE], ids=["profile", "profile of a role"])
def test_process_for_credentials_is_refused_by_name(site: ExampleOrg, role: str, open_directory: Path) -> None:
    """It would run outside. So would that of the profile that assumes a role."""
    proof = open_directory / "started"
    open_directory.chmod(0o777)
    environment = configure(site, role + PROCESS.format("other" if role else "mine", proof))
    with pytest.raises(exceptions.CredentialRetrievalError, match="/bin/touch would run in the program's own namesp"):
        site.run(ask_without_keys, **environment)
    assert not proof.exists()


def test_monitoring_is_refused_by_name(site: ExampleOrg) -> None:
    """It sends a datagram for each call."""
    with pytest.raises(ValueError, match=r"client-side monitoring sends .* switch it off: AWS_CSM_ENABLED=false"):
        site.run(ask, by_botocore, PLAIN, ["peer"], AWS_CSM_ENABLED="true")


@MAKERS
def test_transfer_by_the_crt_is_refused_by_name(site: ExampleOrg, make: Make) -> None:
    """boto3 asks the client for credentials for the AWS CRT, whose sockets would be outside."""

    def try_it(namespace: str) -> None:
        with pytest.raises(NotImplementedError, match=r'AWS CRT makes its own sockets.*client="classic"'):
            make(namespace, PLAIN)._get_credentials()

    site.run(try_it)


def test_session_of_botocore_is_refused() -> None:
    """It could be one of the program's own namespace."""
    with pytest.raises(TypeError, match="takes no botocore_session"):
        boto3.Session("blue", botocore_session=botocore.session.Session())


class UnknownProvider(botocore.credentials.CredentialProvider):
    METHOD = "unknown"


class UnknownHTTPSession:
    def __init__(self, **_: object) -> None:
        pass


def test_later_version_with_another_provider_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could ask outside, as those for the metadata services do."""
    monkeypatch.setattr(botocore.credentials, "OriginalEC2Provider", UnknownProvider)
    with pytest.raises(ImportError, match="this version of botocore has a UnknownProvider, whose connections can't be"):
        adapted.Session("blue").get_credentials()


def test_later_version_with_another_http_session_is_refused() -> None:
    with pytest.raises(ImportError, match="this version of botocore has a UnknownHTTPSession"):
        adapted.Session("blue")._move(UnknownHTTPSession())
