"""Finds and enters network namespaces. Imports no other room."""
