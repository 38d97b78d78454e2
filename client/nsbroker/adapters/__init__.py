"""Sockets of a namespace for libraries that make their own: one file for each library, and named after it.

Every class and function here is the library's own of the same name with one more argument, the namespace, which comes
first: a `Namespace`, or what `Namespace` is made of. A file imports its library, and this package none of them.
"""
