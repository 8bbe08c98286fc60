"""How alike pictures, masks and samples are, and how sure a mean of them is."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from companion.door.pictures import as_rgb


def kid(first: Tensor, second: Tensor) -> float:
    """Squared maximum mean discrepancy of two sets of features, unbiased.

    Binkowski et al. 2018, "Demystifying MMD GANs", section 4: kernel (x . y / d + 1) ** 3. Near 0
    (and at times a little below) for two samples of one distribution.

    Args:
        first: (samples, features), at least 2 samples.
        second: (samples, features).
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    first, second = first.double(), second.double()
    m, n = len(first), len(second)
    within_first, within_second = kernel(first, first), kernel(second, second)
    return float(
        (within_first.sum() - within_first.trace()) / (m * (m - 1))
        + (within_second.sum() - within_second.trace()) / (n * (n - 1))
        - 2 * kernel(first, second).mean()
    )


def nearest(queries: Tensor, library: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
    """Distances and indices of the nearest pictures: root mean squared difference of pixels.

    Args:
        queries: (batch, 3, height, width) in -1..1.
        library: (pictures, 3, height, width) in -1..1.
        count: how many neighbours.

    Returns:
        Two tensors of shape (batch, count), the nearest first; distances in -1..1 units.
    """
    flat, shelf = queries.flatten(1), library.flatten(1)
    distances = torch.cdist(flat, shelf) / flat.shape[1] ** 0.5
    found = distances.topk(count, largest=False)
    return found.values, found.indices


class Interval(NamedTuple):
    """A mean and where it lies with 95 % confidence."""

    mean: float
    low: float
    high: float


def iou(heat: np.ndarray, masks: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Intersection over union of the places where maps exceed a threshold, with masks.

    Args:
        heat: (n, height, width), each stretched to 0..1, as `expand_as` gives them.
        masks: bool of the same shape.
        thresholds: from 0 to 1. The DAAM paper takes 0.4 (Tang et al. 2023).

    Returns:
        (n, thresholds), 0..1; 0 where both are empty.
    """
    masks = np.asarray(masks, dtype=bool)
    found = np.asarray(heat)[:, None] > np.asarray(thresholds)[:, None, None]
    both = (found & masks[:, None]).sum(axis=(-2, -1))
    either = (found | masks[:, None]).sum(axis=(-2, -1))
    return both / np.maximum(either, 1)


def bootstrap(values: np.ndarray, groups: Sequence[int], *, resamples: int = 2000) -> Interval:
    """The mean of values and its 95 % interval, by drawing whole groups again and again.

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


def peak_signal_to_noise(first: Tensor, second: Tensor) -> Tensor:
    """PSNR in dB of each pair of pictures in -1..1: (batch, 3, height, width) to (batch,)."""
    squared = (first - second).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(4 / squared)  # the range is 2 wide, its square 4


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each pair of masks: bool (batch, height, width) to (batch,)."""
    both = (first & second).sum(dim=(1, 2))
    return both / (first | second).sum(dim=(1, 2)).clamp(min=1)


def percent(answers: Iterable[bool]) -> float:
    """Which part of the answers is yes."""
    every = list(answers)
    return 100 * sum(every) / len(every)


def psnr(left: Image.Image, right: Image.Image) -> float:
    """Peak signal-to-noise ratio of two pictures in dB: 10 log10(255² / mean squared difference).

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
    difference = np.asarray(left, float) - np.asarray(right, float)
    error = float(np.mean(difference**2))
    return 10 * math.log10(255**2 / error) if error else math.inf
