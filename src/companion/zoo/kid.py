"""Kernel Inception Distance, on features of the zoo's own classifier instead of Inception's."""

import torch
from torch import Tensor


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
