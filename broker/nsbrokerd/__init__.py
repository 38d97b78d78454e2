"""The daemon: makes sockets inside network namespaces and hands their descriptors to unprivileged programs."""
