"""`python -m nsbroker.cli`: nsbroker-get where its script is not installed."""

import sys

from . import main

sys.exit(main())
