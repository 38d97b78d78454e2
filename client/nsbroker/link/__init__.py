"""The connection to the broker: requests out, replies and descriptors in, once more after a restart. Imports wire."""
