"""Installs the hooks of the namespace in every run of trio."""

import trio_runs  # noqa: F401  # It does so when it is imported.
