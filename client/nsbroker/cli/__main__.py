"""Runs nsbroker-get by `python -m nsbroker.cli`, for a place where its script is not installed."""

from . import main

main()
