"""A small S3 and STS, which verify each signature, and the metadata services of an instance and of a container.

Its bucket is `pictures`. An object has the bytes that were put there, except `peer`, the address of the client, and
`connection`, a number for each connection. `/seen` lists all paths that were asked for.

Source: "Authenticating Requests (AWS Signature Version 4)" in the API reference of Amazon S3.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, urlsplit

from support.namespaces import ip

HOST = "s3.example.org"
TLS_PORT, PORT = 9000, 9002
PORTS = (TLS_PORT, PORT)
BUCKET = "pictures"

SECRETS = {"key": "secret", "instance": "secret of the instance", "container": "secret of the container"}
SECRETS |= {"role": "secret of the role"}
"""The secret of each access key: the user's, and those that the services tell."""
CONTAINER_ADDRESS = "169.254.170.23"
"""One of the addresses at which a container may ask for its credentials, on PORT and this path."""
CONTAINER_PATH = "/container"
ROLE = "/latest/meta-data/iam/security-credentials/"
ZONE = "/latest/meta-data/placement/availability-zone/"

_BUCKETS = f"""<?xml version="1.0" encoding="UTF-8"?>
<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>x</ID></Owner><Buckets>
<Bucket><Name>{BUCKET}</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket>
</Buckets></ListAllMyBucketsResult>"""
_ROLE = f"""<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>role</AccessKeyId><SecretAccessKey>{SECRETS["role"]}</SecretAccessKey><SessionToken>x</SessionToken>
<Expiration>{{}}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
_DENIED = "<Error><Code>SignatureDoesNotMatch</Code><Message>the signature is wrong</Message></Error>"
_ABSENT = "<Error><Code>NoSuchKey</Code><Message>there is no such object</Message></Error>"

_objects: dict[str, bytes] = {}
_seen: list[str] = []


def credentials_of(access_key: str) -> str:
    """The credentials as a metadata service tells them."""
    return json.dumps(
        {
            "Code": "Success",
            "AccessKeyId": access_key,
            "SecretAccessKey": SECRETS[access_key],
            "Token": "token",
            "Expiration": _in_six_hours(),
        }
    )


def _in_six_hours() -> str:
    return (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self._read()
        _seen.append(self.path)
        if self.path == "/latest/api/token":
            self._answer(200, "token")
        elif not self._is_signed():
            self._answer(403, _DENIED)
        else:
            _objects[urlsplit(self.path).path] = body
            self._answer(200, "")

    def do_POST(self) -> None:
        """AssumeRole, for the instance alone."""
        body = self._read()
        _seen.append(self.path)
        if "Credential=instance/" in self.headers["Authorization"] and self._is_signed(body):
            self._answer(200, _ROLE.format(_in_six_hours()))
        else:
            self._answer(403, _DENIED)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        _seen.append(path)
        services = {
            "/seen": json.dumps(_seen),
            ROLE: "role",
            f"{ROLE}role": credentials_of("instance"),
            ZONE: "eu-central-1a",
            CONTAINER_PATH: credentials_of("container"),
        }
        if path in services:
            self._answer(200, services[path])
        elif not self._is_signed():
            self._answer(403, _DENIED)
        elif path == "/":
            self._answer(200, _BUCKETS)
        else:
            known = {f"/{BUCKET}/peer": self.client_address[0], f"/{BUCKET}/connection": str(self.client_address[1])}
            found = known.get(path, _objects.get(path))
            self._answer(404 if found is None else 200, _ABSENT if found is None else found)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _is_signed(self, body: bytes = b"") -> bool:
        scheme, _, text = self.headers.get("Authorization", "").partition(" ")
        if scheme != "AWS4-HMAC-SHA256":
            return False
        fields = dict(part.strip().split("=", 1) for part in text.split(","))
        access_key, *scope = fields["Credential"].split("/")
        url = urlsplit(self.path)
        query = sorted(
            (quote(name, "-_.~"), quote(value, "-_.~")) for name, value in parse_qsl(url.query, keep_blank_values=True)
        )
        headers = [f"{name}:{' '.join(self.headers[name].split())}\n" for name in fields["SignedHeaders"].split(";")]
        request = "\n".join(
            [
                self.command,
                url.path,
                "&".join(f"{name}={value}" for name, value in query),
                "".join(headers),
                fields["SignedHeaders"],
                self.headers["x-amz-content-sha256"] or hashlib.sha256(body).hexdigest(),
            ]
        )
        digest = hashlib.sha256(request.encode()).hexdigest()
        to_sign = "\n".join([scheme, self.headers["x-amz-date"], "/".join(scope), digest])
        key = b"AWS4" + SECRETS[access_key].encode()
        for part in scope:
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, to_sign.encode(), "sha256").hex() == fields["Signature"]

    def _answer(self, status: int, body: str | bytes) -> None:
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The log is /seen."""


def serve(certificate: str) -> None:
    ip("address", "add", f"{CONTAINER_ADDRESS}/32", "dev", "lo")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    secure = ThreadingHTTPServer(("0.0.0.0", TLS_PORT), Handler)
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    threading.Thread(target=secure.serve_forever).start()
    ThreadingHTTPServer(("0.0.0.0", PORT), Handler).serve_forever()
