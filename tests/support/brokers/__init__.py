"""Brokers for tests, real ones and fakes, and clients that put them under load."""
