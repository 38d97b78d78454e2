"""Turns the files of /etc/nsbroker into settings and a policy. Imports sockets and the rooms below it."""

from .parse import DEFAULT_CONFIG_PATH, DEFAULT_SEAL_PATH, Config, ConfigError, parse_config
from .table import Problem

__all__ = [
    "DEFAULT_CONFIG_PATH",
    "DEFAULT_SEAL_PATH",
    "Config",
    "ConfigError",
    "Problem",
    "parse_config",
]
