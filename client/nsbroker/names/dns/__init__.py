"""Look-ups in DNS: messages, one question to one server, all servers, and the search list. Imports files and link.

dnspython turns messages into bytes and back. Loading it takes about 50 ms, so a blocking program loads this package at
its first question. The adapters of event loops load it beforehand.
"""
