"""Host names, looked up inside a namespace by the rules of glibc. Imports link and wire.

The socket module's look-ups run in C in the caller's own namespace. These run over sockets of another one. `files`
reads hosts, resolv.conf and services. `dns` asks name servers. `order` sorts addresses. `numeric` needs no look-up at
all.
"""
