"""Numbers as people and libraries give them, made Python's own."""

import math
import operator
from collections.abc import Iterable, Mapping
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
        if not _is_truth(value):
            return operator.index(value)
    except TypeError:
        pass
    raise ValueError(f"{name} is {shown(value)}, but it is a whole number.")


def number(name: str, value: Any) -> float:
    """A number, numpy's and torch's included; neither a truth value nor a text, NaN or infinite.

    Raises:
        ValueError: something else.
    """
    try:
        if not (_is_truth(value) or isinstance(value, str | bytes)) and math.isfinite(value):
            short = type(value) is float or (type(value) is int and abs(value) < 2**53)
            return value if short else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pass  # each of numpy, torch and Python has its own
    raise ValueError(f"{name} is {shown(value)}, but it is a finite number.")


def listed(given: Any) -> list[Any]:
    """Several as a list, and one as a list of itself: a text is one, and so is torch's number."""
    return list(given) if is_several(given) else [given]


def is_several(given: Any) -> bool:
    """Whether it can be gone through, and is neither a text nor a tensor of no side."""
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping)
    return several and getattr(given, "ndim", 1) > 0


def shown(value: Any) -> str:
    """A value in a sentence: one short line."""
    try:
        told = printable(repr(value))
    except Exception:  # a number of more than 4,300 digits, among others
        return f"a very long {type(value).__name__}"
    return told if len(told) <= 60 else told[:60] + "…"


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
