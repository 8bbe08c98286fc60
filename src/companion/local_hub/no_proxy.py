"""Hosts that are reached without a proxy, for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("no_proxy", "NO_PROXY")


@contextmanager
def no_proxy(hosts: str) -> Iterator[None]:
    """Meanwhile no request to these hosts goes through a proxy; then all is as it was.

    Args:
        hosts: as in the variable no_proxy, with commas between them; "*" is all.
    """
    before = {name: os.environ.get(name) for name in NAMES}
    try:
        for name, value in before.items():
            os.environ[name] = f"{value},{hosts}" if value else hosts
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
