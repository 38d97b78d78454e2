"""Sockets in network namespaces, for programs without privileges."""
