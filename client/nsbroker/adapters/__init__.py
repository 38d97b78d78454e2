"""Sockets of a namespace for libraries that make their own: one file for each library, with the library's name.

Each public class and function is the library's own of the same name, with the namespace as an additional first
argument: a `Namespace`, or an argument for `Namespace`. You install only the libraries that you use, since each file
imports its own library, and this package imports no library. The files may import module, drivers, place, names, link
and wire.
"""
