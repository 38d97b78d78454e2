"""Pods for tests: a CRI server that misbehaves on request, and a client that makes pods in a real runtime."""
