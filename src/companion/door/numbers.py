"""Numbers as people and libraries give them, made Python's own."""

import operator
from typing import Any

from .text import printable


def whole(name: str, value: Any) -> int:
    """A whole number, numpy's and torch's included; neither a truth value nor 2.0.

    Args:
        name: how the sentence calls it.
        value: what was given.

    Raises:
        ValueError: something else.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    shown = printable(repr(value))
    raise ValueError(
        f"{name} is {shown[:60]}{'…' if len(shown) > 60 else ''}, but it is a whole number."
    )
