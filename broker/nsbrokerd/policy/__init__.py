"""The policy: which users may have which sockets in which namespaces. Pure. Imports only nsbroker.wire."""

from .decide import Allow, Deny, Policy, Share
from .grant import Grant, NamespaceRule, Subject
from .limit import Limit
from .options import OptionRule
from .rules import AddressRule

__all__ = [
    "AddressRule",
    "Allow",
    "Deny",
    "Grant",
    "Limit",
    "NamespaceRule",
    "OptionRule",
    "Policy",
    "Share",
    "Subject",
]
