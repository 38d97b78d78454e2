"""A namespace as a stand-in for the socket module: `place`, blocking. Imports drivers, place, names, link and wire."""
