"""The version of the protocol, and the largest sizes and numbers in it. Both sides use the same ones."""

PROTOCOL_VERSION = 1

MAX_PACKET_BYTES = 65536

MAX_BLOB_BYTES = 2**26
"""A client maps no larger answer."""

MAX_SOCKETS = 253
"""Sockets of one request. Kernel limit: SCM_MAX_FD in include/net/scm.h."""

MAX_LIST_ITEMS = 1024
"""Items of any list in a packet. Decoders refuse longer ones unread, since they allocate as much as a list claims."""

MAX_SENT_FDS = 16
"""Namespace descriptors that a client may send along with one request."""

MAX_WAIT_S = 60
"""Seconds that a request may wait for a namespace that does not exist yet."""

MAX_BACKLOG = 65535

MAX_ALSO = 15
"""Additional addresses of one SCTP socket."""

MAX_OPTIONS = 32
"""Socket options of one spec."""

MAX_OPTION_BYTES = 256

MAX_NAME_BYTES = 255
"""Bytes of a namespace's name, which is an entry of a directory. Kernel limit: NAME_MAX."""

MAX_INTERFACE_BYTES = 15
"""Bytes of an interface's name. Kernel limit: IFNAMSIZ less the NUL. An empty name means every interface."""

MAX_ABSTRACT_BYTES = 107
"""Bytes of an abstract Unix name: sun_path less the leading NUL."""

MAX_REQUEST_ID = 2**63 - 1
