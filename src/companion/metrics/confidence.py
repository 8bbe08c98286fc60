"""How sure a figure is."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from companion.door.numbers import whole

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
        resamples: how often, at least once.

    Raises:
        ValueError: there is no value, one that is no finite number, or not a group for each; or
            resamples is no whole number of at least 1.
    """
    values, of_each = _numbers(values), np.asarray(groups)
    if values.ndim != 1 or not len(values) or of_each.shape != values.shape:
        raise ValueError(
            f"The values have the shape {values.shape} and the groups {of_each.shape}, but both "
            "are (n,): a group for each value, at least one."
        )
    if (resamples := whole("How often is drawn", resamples)) < 1:
        raise ValueError(f"Resamples are {resamples}, but an interval needs 1 at least.")
    _, which = np.unique(of_each, return_inverse=True)
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
    every = _some(answers)
    total = len(every)
    share, extra = sum(every) / total, _Z**2 / total
    middle = (share + extra / 2) / (1 + extra)
    half = _Z * (share * (1 - share) / total + extra / (4 * total)) ** 0.5 / (1 + extra)
    # Where all are alike an end is 0 or 1, but for the last digit.
    return Interval(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def percent(answers: Iterable[bool]) -> float:
    """How many of the answers are yes, 0..100.

    Raises:
        ValueError: there is none.
    """
    every = _some(answers)
    return 100 * sum(every) / len(every)


def _some(answers: Iterable[bool]) -> list[bool]:
    every = [bool(answer) for answer in answers]
    if not every:
        raise ValueError("Of no answers there is no share: ask once at least.")
    return every


def _numbers(values: np.ndarray) -> np.ndarray:
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError):  # texts, or rows of several lengths
        numbers = np.array(np.nan)
    if not np.isfinite(numbers).all():
        raise ValueError("A value is no finite number: leave it out, with its group.")
    return numbers
