"""The straight path from a picture to noise, and what its velocity says about both ends.

Lipman et al. 2023 (arXiv:2210.02747), Liu et al. 2023 (arXiv:2209.03003), Albergo and
Vanden-Eijnden 2023 (arXiv:2209.15571). The direction and the letters are those of Esser et al. 2024
(arXiv:2403.03206), section 3: t is 0 for the picture and 1 for the noise.
"""

from torch import Tensor


def interpolate(x_0: Tensor, noise: Tensor, t: float | Tensor) -> Tensor:
    """The place on the path, x_t = (1 - t) x_0 + t ε: Esser et al. 2024, equation 13.

    Chapter 7, "A straight path".

    Args:
        x_0: pictures or latents, (batch, ...).
        noise: standard normal, of the same shape.
        t: 0..1, one for all or one for each, of shape (batch, 1, ...).

    Returns:
        x_t, of the same shape.
    """
    return (1 - t) * x_0 + t * noise


def velocity(x_0: Tensor, noise: Tensor) -> Tensor:
    """Where the path goes, u = ε - x_0, the same all the way: what a model learns to name.

    Chapter 7, "A straight path". Lipman et al. 2023, equation 23, and Liu et al. 2023, equation 1,
    count t the other way round, so that their velocity has the other sign.
    """
    return noise - x_0


def picture_of(x_t: Tensor, u: Tensor, t: float | Tensor) -> Tensor:
    """The end of the path at t = 0, if it went straight on: x_0 = x_t - t u.

    Chapter 7, "Four names for one answer".
    """
    return x_t - t * u


def noise_of(x_t: Tensor, u: Tensor, t: float | Tensor) -> Tensor:
    """Its other end, at t = 1: ε = x_t + (1 - t) u.

    Chapter 7, "Four names for one answer".
    """
    return x_t + (1 - t) * u


def velocity_from_noise(x_t: Tensor, noise: Tensor, t: float | Tensor) -> Tensor:
    """The velocity, where the noise is known instead: u = (ε - x_t) / (1 - t), for t below 1.

    Chapter 7, "Four names for one answer".
    """
    return (noise - x_t) / (1 - t)
