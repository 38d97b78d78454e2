"""nginx, whose answers describe the requests that it received."""

from __future__ import annotations

from support.adapters.example_org import ExampleOrg
from support.adapters.programs import Program, find_program

PROXY_PORT = 3128
TWO_REQUESTS_PORT = 8080
"""Here a connection is good for two requests."""

PORTS = (80, 443, PROXY_PORT, TWO_REQUESTS_PORT)

_CONFIGURATION = """
daemon off;
worker_processes 1;
user root;
pid {directory}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};

    server {{
        listen 80;
        listen 443 ssl;
        include {directory}/locations;
    }}
    server {{
        listen {two};
        keepalive_requests 2;
        include {directory}/locations;
    }}
    server {{
        listen {proxy};
        location / {{ return 200 "$remote_addr asks for $scheme://$host$uri"; }}
    }}
}}
"""

_LOCATIONS = """
location /peer { return 200 $remote_addr; }
location /connection { return 200 $connection; }
location /log { return 200 ok; }
location /redirect { return 302 https://www.example.org/peer; }
location /to-other { return 302 http://other.example.org/peer; }
location /to-ftp { return 302 ftp://ftp.example.org/; }
location /to-unknown { return 302 http://nothing.example.org/; }
location /drop { return 444; }
location /RPC2 {
    default_type text/xml;
    return 200 "<methodResponse><params><param><value>$remote_addr</value></param></params></methodResponse>";
}
location / { return 200 "welcome\n"; }
"""


def why_not() -> str | None:
    return None if find_program("nginx") else "a web server needs the command nginx (nginx-light)"


def start(site: ExampleOrg) -> Program:
    """Start it on all PORTS."""
    directory = site.directory
    text = _CONFIGURATION.format(
        directory=directory, certificate=site.certificate, two=TWO_REQUESTS_PORT, proxy=PROXY_PORT
    )
    (directory / "nginx.conf").write_text(text)
    (directory / "locations").write_text(_LOCATIONS)
    nginx = str(find_program("nginx"))
    return site.start_server(nginx, "-e", "stderr", "-p", str(directory), "-c", f"{directory}/nginx.conf", ports=PORTS)
