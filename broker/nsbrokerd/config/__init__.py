"""Turns the files of /etc/nsbroker into settings and a policy. Imports clients, seal, namespaces and policy."""

from .grants import Host
from .parse import DEFAULT_CONFIG_PATH, DEFAULT_SEAL_PATH, Config, ConfigError, Limits, parse_config
from .table import Problem

__all__ = [
    "DEFAULT_CONFIG_PATH",
    "DEFAULT_SEAL_PATH",
    "Config",
    "ConfigError",
    "Host",
    "Limits",
    "Problem",
    "parse_config",
]
