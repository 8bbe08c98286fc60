"""How sure a figure is."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

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


def wilson(answers: Iterable[bool]) -> Interval:
    """The share of yes, 0..1, and its 95 % score interval: that of Wilson 1927,

        (p + z²/2n ± z √(p (1 - p) / n + z²/4n²)) / (1 + z²/n)

    It never leaves 0..1, and has a width where all answers are alike, too: 20 yes of 20 is 0.84 to
    1, not 1 to 1.

    "And how good is it?", "Count, and say how sure".

    Args:
        answers: independent of each other, at least one.

    Raises:
        ValueError: there is none.
    """
    every = [bool(answer) for answer in answers]
    if not every:
        raise ValueError("Of no answers there is no share: ask once at least.")
    total = len(every)
    share, extra = sum(every) / total, _Z**2 / total
    middle = (share + extra / 2) / (1 + extra)
    half = _Z * (share * (1 - share) / total + extra / (4 * total)) ** 0.5 / (1 + extra)
    # Where all are alike an end is 0 or 1, but for the last digit.
    return Interval(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def percent(answers: Iterable[bool]) -> float:
    """How many of the answers are yes, 0..100; at least one answer."""
    every = list(answers)
    return 100 * sum(every) / len(every)
