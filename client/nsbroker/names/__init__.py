"""Host names, looked up inside a namespace by the rules of glibc. Imports link and wire.

The socket module's look-ups run in C, in the caller's own namespace. The look-ups of this room run over sockets of
another namespace. `files` reads hosts, resolv.conf and services. `dns` asks name servers. `order` sorts addresses.
`numeric` handles hosts that need no look-up. `getaddrinfo` and `getnameinfo` put them together.
"""
