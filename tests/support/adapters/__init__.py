"""Servers and clients of the libraries that have an adapter, in namespaces of their own."""
