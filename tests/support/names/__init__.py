"""Name servers for tests: a real one, and a fake one in memory."""
