"""Puts each run of trio into the namespace."""

import os

import trio

from nsbroker.adapters.trio import install

original = trio.run


def run(async_fn, *args, **options):
    """Run as trio does, after the installation of the hooks."""

    async def main():
        install(os.environ["OUTSIDE_NAMESPACE"])
        return await async_fn(*args)

    return original(main, **options)


trio.run = trio._core.run = run
