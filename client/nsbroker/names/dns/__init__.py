"""Look-ups in DNS: messages, one question to one server, all servers, and the search list. Imports files and link.

dnspython turns messages into bytes and back. To load it takes about 50 ms, so a thread loads this package for the first
question. Event loops load it beforehand.
"""
