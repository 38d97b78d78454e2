"""boto3 in a namespace.

The functions of boto3 itself, such as `boto3.client`, use a session of the program's own namespace. Use the methods of
`Session`.
"""

from __future__ import annotations

import inspect
from typing import Any

import boto3.session

from . import botocore
from ._namespace import NamespaceLike

__all__ = ["Session"]


class Session(boto3.session.Session):
    """`boto3.session.Session` in a namespace, see `nsbroker.adapters.botocore.Session`.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        args: as for `boto3.session.Session`, except botocore_session.
        kwargs: the same by name.

    Raises:
        TypeError: a botocore_session was given.

    Example:
        >>> session = Session("blue", "key", "secret", region_name="eu-central-1")
        >>> s3 = session.resource("s3", endpoint_url="https://s3.example.org:9000")
        >>> [bucket.name for bucket in s3.buckets.all()]
        ['pictures']
        >>> s3.meta.client.close()
    """

    def __init__(self, namespace: NamespaceLike, *args: Any, **kwargs: Any) -> None:
        call = inspect.signature(super().__init__).bind(*args, **kwargs)
        if call.arguments.get("botocore_session") is not None:
            raise TypeError(
                "a Session in a namespace takes no botocore_session, since another one could connect outside; leave it "
                "out"
            )
        call.arguments["botocore_session"] = botocore.Session(namespace)
        super().__init__(*call.args, **call.kwargs)
