"""Host names, looked up inside a namespace.

The socket module's look-ups run in C, in the caller's own namespace. Here they run over sockets of another one: the
rules of resolv.conf(5), hosts(5) and getaddrinfo(3) are generators without input or output (`plan` says how they are
driven), and dnspython, loaded at the first question to a name server, turns questions and answers into bytes and back.
"""
