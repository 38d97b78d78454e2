"""Mosquitto, by TCP and by WebSockets, each with and without TLS."""

from __future__ import annotations

import re

from support.adapters.example_org import ExampleOrg
from support.adapters.programs import find_program

HOST = "mqtt.example.org"
PORT, TLS_PORT, WEBSOCKETS_PORT, WEBSOCKETS_TLS_PORT = 1883, 8883, 8083, 8084


def why_not() -> str | None:
    return None if find_program("mosquitto") else "MQTT needs the command mosquitto (mosquitto)"


class MqttServer:
    """The server, from the constructor to `stop`."""

    def __init__(self, site: ExampleOrg) -> None:
        lines = ["per_listener_settings false", "allow_anonymous true", "user root"]
        for port in (PORT, TLS_PORT, WEBSOCKETS_PORT, WEBSOCKETS_TLS_PORT):
            lines.append(f"listener {port} 0.0.0.0")
            if port in (WEBSOCKETS_PORT, WEBSOCKETS_TLS_PORT):
                lines.append("protocol websockets")
            if port in (TLS_PORT, WEBSOCKETS_TLS_PORT):
                lines += [f"certfile {site.certificate}", f"keyfile {site.certificate}"]
        configuration = site.directory / "mosquitto.conf"
        configuration.write_text("\n".join(lines) + "\n")
        self._log = site.directory / "mosquitto.log"
        ports = (PORT, TLS_PORT, WEBSOCKETS_PORT, WEBSOCKETS_TLS_PORT)
        self._program = site.start_server(str(find_program("mosquitto")), "-c", str(configuration), ports=ports)

    def stop(self) -> None:
        self._program.stop()

    def peers(self, client_id: str) -> list[str]:
        """The addresses of all connections of a client until now."""
        line = rf"New client connected from (?:::ffff:)?([0-9.]+):\d+ as {re.escape(client_id)} "
        return re.findall(line, self._log.read_text())
