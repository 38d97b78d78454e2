"""What the files of /etc/nsbroker mean: settings and policy, checked as a whole."""

from .grants import Accounts
from .parse import DEFAULT_CONFIG_PATH, Config, ConfigError, Limits, parse_config
from .table import Problem

__all__ = ["DEFAULT_CONFIG_PATH", "Accounts", "Config", "ConfigError", "Limits", "Problem", "parse_config"]
