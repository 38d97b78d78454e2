"""Points the whole program at the namespace."""

import os

import nsbroker

nsbroker.patch(os.environ["OUTSIDE_NAMESPACE"])
