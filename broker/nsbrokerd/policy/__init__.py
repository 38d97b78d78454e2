"""The policy: who may have which sockets in which namespaces. Pure: values in, decisions out."""

from .decide import Allow, Deny, Policy, Share
from .grant import Grant, NamespaceRule
from .limit import Limit
from .options import OptionRule
from .rules import AddressRule
from .subject import Subject

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
