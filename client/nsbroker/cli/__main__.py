"""`python -m nsbroker.cli`: nsbroker-get where its script is not installed."""

from . import main

main()
