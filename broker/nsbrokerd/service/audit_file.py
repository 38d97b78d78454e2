"""Opens the audit of a configuration, or says why it can't be opened as `check` does."""

from __future__ import annotations

import os
from pathlib import Path

from ..config import Config
from ..config.places import audit_problem
from ..requests.audit import Audit
from .service_manager import is_journal


def open_audit(config_path: Path, config: Config) -> Audit:
    """Open the audit.

    Raises:
        ConfigError: it can't be opened.
    """
    path = config.audit_path
    try:
        return Audit(path, has_priorities=path is None and is_journal(2, os.environ))
    except OSError as error:
        raise audit_problem(config_path, config, error) from error
