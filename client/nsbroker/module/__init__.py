"""A namespace as a stand-in for the socket module. Imports drivers, place, names, link and wire."""
