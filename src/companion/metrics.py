"""How alike pictures, masks and samples are, and how sure a mean of them is."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from companion.door.pictures import as_rgb

Masks = TypeVar("Masks", np.ndarray, Tensor)


# Pictures


def peak_signal_noise_ratio(first: Tensor, second: Tensor, data_range: float = 2.0) -> Tensor:
    """PSNR in dB of each pair of pictures: 10 log10(data_range² / mean squared difference).

    Chapter 3, "Pictures become latents, and back".

    Args:
        first: (batch, channels, height, width).
        second: the same shape.
        data_range: from the darkest value there can be to the brightest; 2 for -1..1.

    Returns:
        (batch,); infinite for equal pictures.
    """
    squared = (first - second).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(data_range**2 / squared)


def psnr(left: Image.Image, right: Image.Image) -> float:
    """`peak_signal_noise_ratio` of two PIL pictures, in dB.

    Infinite for equal pictures. At 30 dB values differ by 8 of 255 (root mean square), at 40 by
    2.6, at 50 by 0.8, less than a shade.

    Pictures of other modes are compared as RGB, upright, on white.

    Raises:
        ValueError: the pictures have different sizes, or are none.
    """
    left, right = as_rgb(left, "The left picture"), as_rgb(right, "The right picture")
    if left.size != right.size:
        raise ValueError(
            f"Pictures of {left.width}x{left.height} and {right.width}x{right.height} cannot be "
            f"compared: resize one first."
        )
    first, second = (torch.from_numpy(np.array(side, float))[None] for side in (left, right))
    return float(peak_signal_noise_ratio(first, second, data_range=255))


def nearest(queries: Tensor, library: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
    """Distances and indices of the nearest pictures: root mean squared difference of pixels.

    Args:
        queries: (batch, 3, height, width) in -1..1.
        library: (pictures, 3, height, width) in -1..1.
        count: how many neighbours.

    Returns:
        Two tensors of shape (batch, count), the nearest first; distances are 0..2.
    """
    flat, shelf = queries.flatten(1), library.flatten(1)
    distances = torch.cdist(flat, shelf) / flat.shape[1] ** 0.5
    found = distances.topk(count, largest=False)
    return found.values, found.indices


# Masks


def iou(first: Masks, second: Masks) -> Masks:
    """Intersection over union (Jaccard 1901) of each pair of masks.

    Chapter 6, "A picture that nobody generated".

    A map becomes a mask by a threshold: `iou(heat > 0.4, mask)`.

    Args:
        first: bool, arrays or tensors of shape (..., height, width).
        second: the same, of a shape that goes with it.

    Returns:
        (...), 0..1; 0 where both are empty.
    """
    both, either = (first & second).sum((-2, -1)), (first | second).sum((-2, -1))
    return both / either.clip(1)


# Samples


def kid(first: Tensor, second: Tensor) -> float:
    """Kernel inception distance of two sets of features: their squared maximum mean discrepancy,
    unbiased.

    Binkowski et al. 2018, "Demystifying MMD GANs", section 4: kernel (x . y / d + 1) ** 3. Near 0
    (and at times a little below) for two samples of one distribution.

    Args:
        first: (samples, features), at least 2 samples.
        second: (samples, features), at least 2 samples.
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    first, second = first.cpu().double(), second.cpu().double()  # a Mac's GPU has no float64
    m, n = len(first), len(second)
    within_first, within_second = kernel(first, first), kernel(second, second)
    return float(
        (within_first.sum() - within_first.trace()) / (m * (m - 1))
        + (within_second.sum() - within_second.trace()) / (n * (n - 1))
        - 2 * kernel(first, second).mean()
    )


# Confidence


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
    """The share of yes, 0..1, and its 95 % score interval (Wilson 1927): it has a width where all
    answers are the same, too, and never leaves 0..1.

    Args:
        answers: independent of each other, at least one.

    Raises:
        ValueError: there is none.
    """
    from scipy.stats import binomtest  # takes a second

    every = [bool(answer) for answer in answers]
    if not every:
        raise ValueError("Of no answers there is no share: ask once at least.")
    found = binomtest(sum(every), len(every)).proportion_ci(method="wilson")
    return Interval(sum(every) / len(every), float(found.low), float(found.high))


def percent(answers: Iterable[bool]) -> float:
    """How many of the answers are yes, 0..100; at least one answer."""
    every = list(answers)
    return 100 * sum(every) / len(every)
