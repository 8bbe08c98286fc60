"""How sure a figure is."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from companion.door.numbers import shown, whole

_Z = 1.959964  # of a normal distribution, 95 % lie so many standard deviations around its middle


class Interval(NamedTuple):
    """A mean and where it lies with 95 % confidence."""

    mean: float
    low: float
    high: float


def bootstrap(values: np.ndarray, groups: Sequence[int], *, resamples: int = 2000) -> Interval:
    """The mean of values and its 95 % interval, by drawing whole groups again and again: the
    percentile bootstrap (Efron 1979) of clusters.

    Args:
        values: (n,) one for each object.
        groups: (n,) the picture that each belongs to: two objects of one picture are not
            independent.
        resamples: how often.
    """
    values = np.asarray(values, dtype=float)
    _, which = np.unique(np.asarray(groups), return_inverse=True)
    sums, counts = np.bincount(which, values), np.bincount(which)
    drawn = np.random.default_rng(0).integers(0, len(sums), (resamples, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def wilson(yes: int, total: int) -> Interval:
    """The share of yes among answers, and its 95 % interval: that of Wilson 1927,

        (p + z²/2n ± z √(p (1 - p) / n + z²/4n²)) / (1 + z²/n)

    It holds for few answers too, and where all are yes: 20 of 20 is 0.84 to 1, not 1 to 1.

    "And how good is it?", "Count, and say how sure".

    Args:
        yes: how many answers are yes.
        total: how many there are, at least 1.

    Returns:
        Shares, 0..1.

    Raises:
        ValueError: more than all, fewer than none, or no answers.
    """
    yes, total = whole("yes", yes), whole("total", total)
    if total < 1 or not 0 <= yes <= total:
        raise ValueError(
            f"{shown(yes)} of {shown(total)} is no share: of at least 1 answer, 0 to all are yes."
        )
    share, extra = yes / total, _Z**2 / total
    middle = (share + extra / 2) / (1 + extra)
    half = _Z * (share * (1 - share) / total + extra / (4 * total)) ** 0.5 / (1 + extra)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def percent(answers: Iterable[bool]) -> float:
    """How many of the answers are yes, 0..100; at least one answer."""
    every = list(answers)
    return 100 * sum(every) / len(every)
