"""`Namespace`, a stand-in for the socket module: the code of `place`, run by a blocking thread.

Imports drivers, place, names, link and wire.
"""
