"""How alike two sets of pictures are, told by their features."""

import torch
from torch import Tensor

from companion.door.numbers import shown

_LARGEST = 1e24  # its twelfth power, as the variance of KID has it, is still a float64


def fid(first: Tensor, second: Tensor) -> float:
    """Fréchet inception distance of two sets of features: how far two normal distributions of their
    means and covariances are apart (Fréchet 1957, Dowson and Landau 1982),

        |μ1 - μ2|² + Tr(Σ1 + Σ2 - 2 (Σ1 Σ2)^½)

    Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium", section 3. Biased: fewer samples make it larger. Papers take the features of an
    Inception network; with others its numbers are others.

    "And how good is it?", "FID: two clouds and their distance".

    Args:
        first: (samples, features), at least 2 samples.
        second: (samples, features), at least 2 samples.

    Returns:
        0 or more, in squared units of the features.

    Raises:
        ValueError: a set is no tensor or of another shape, or a feature is complex, no finite
            number or above 1e24.
    """
    first, second = _checked(first, second)
    far = (first.mean(0) - second.mean(0)).square().sum()
    one, other = first.T.cov(), second.T.cov()
    # The product has the eigenvalues of this symmetric matrix, whose roots are exact to the end.
    values, vectors = torch.linalg.eigh(one)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float(far + one.trace() + other.trace() - 2 * shared))


def kid(first: Tensor, second: Tensor) -> float:
    """Kernel inception distance of two sets of features: their squared maximum mean discrepancy,
    unbiased.

    Binkowski et al. 2018, "Demystifying MMD GANs", section 4: kernel (x . y / d + 1) ** 3. Near 0
    (and at times a little below) for two samples of one distribution.

    "And how good is it?", "KID: without the bias".

    Args:
        first: (samples, features), at least 2 samples.
        second: (samples, features), at least 2 samples.

    Raises:
        ValueError: a set is no tensor or of another shape, or a feature is complex, no finite
            number or above 1e24.
    """
    first, second = _checked(first, second)
    return sum(_alike(x) for x in (first, second)) - 2 * float(_kernel(first, second).mean())


def kid_with_error(first: Tensor, second: Tensor) -> tuple[float, float]:
    """KID and its standard error, by the jackknife: each picture is left out once (Efron and Stein
    1981, "The jackknife estimate of variance").

    On average the error is too large rather than too small. For two samples of one distribution it
    is by about a half.

    "And how good is it?", "KID: without the bias".

    Args:
        first: (samples, features), at least 3 samples.
        second: (samples, features), at least 3 samples.

    Raises:
        ValueError: as `kid`.
    """
    first, second = _checked(first, second, least=3)
    across = _kernel(first, second)
    variance = 0.0
    for x, shared in ((first, across), (second, across.T)):
        n = len(x)
        alike = _kernel(x, x).fill_diagonal_(0).sum(1)
        within = (alike.sum() - 2 * alike) / ((n - 1) * (n - 2))
        between = (shared.sum() - shared.sum(1)) / (shared.numel() - shared.shape[1])
        variance += float((n - 1) * (within - 2 * between).var(correction=0))
    return kid(first, second), variance**0.5


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _alike(x: Tensor) -> float:
    """The kernel's mean over all pairs of two different samples."""
    n = len(x)
    return float(_kernel(x, x).fill_diagonal_(0).sum() / (n * (n - 1)))


def _checked(first: Tensor, second: Tensor, *, least: int = 2) -> tuple[Tensor, Tensor]:
    """Both on the CPU, since a Mac's GPU has no float64, and in it."""
    for features in (first, second):
        if not isinstance(features, Tensor):
            raise ValueError(
                f"Features are a tensor, but {shown(features)} was given: turn it into one, as "
                "torch.as_tensor does."
            )
        if features.is_complex():
            raise ValueError(f"Features are real numbers, but {features.dtype} was given.")
    if first.ndim != 2 or first.shape[1:] != second.shape[1:] or not first.shape[1]:
        raise ValueError(
            f"The features have the shapes {tuple(first.shape)} and {tuple(second.shape)}, but "
            "both are (samples, features), with equally many features, at least one."
        )
    if min(len(first), len(second)) < least:
        raise ValueError(f"A set of so few pictures has no spread: give at least {least} of each.")
    first, second = first.detach().cpu().double(), second.detach().cpu().double()
    if not (first.isfinite().all() and second.isfinite().all()):
        raise ValueError("A feature is no finite number: look at the pictures that it comes from.")
    if max(first.abs().max(), second.abs().max()) > _LARGEST:
        raise ValueError(
            f"A feature is above {_LARGEST:g}, too large for its powers: look at what it comes "
            "from, or divide both sets by one number."
        )
    return first, second
