"""Which t are learned, and which a sampler stops at."""

import math

import numpy as np
import torch
from torch import Generator, Tensor

from companion.door.numbers import number, whole

TRAINED = 1000  # a model is told 1000 t


def shifted(t: Tensor, shift: float) -> Tensor:
    """Move times towards the noise: Esser et al. 2024, section 5.3.2, equation 23.

    Chapter 7, "The shift".

        t' = shift t / (1 + (shift - 1) t)

    Args:
        t: 0..1, of any shape; 0 and 1 stay where they are.
        shift: 1 changes nothing, 3 is that of Stable Diffusion 3.

    Raises:
        ValueError: the shift is no number above 0.
    """
    shift = _positive("shift", shift)
    return shift * t / (1 + (shift - 1) * t)


def resolution_shift(pixels: int, trained_pixels: int) -> float:
    """The shift at which a larger picture is as hard to see as a smaller one: √(pixels / trained).

    Chapter 7, "The shift". Esser et al. 2024, section 5.3.2, where the shift is √(m/n).

    Raises:
        ValueError: one of the two is no whole number above 0.
    """
    if min(whole("pixels", pixels), whole("trained_pixels", trained_pixels)) < 1:
        raise ValueError(
            f"Pictures have 1 pixel or more, but {pixels} and {trained_pixels} were given."
        )
    return math.sqrt(pixels / trained_pixels)


def flow_times(num_steps: int, shift: float = 1.0) -> Tensor:
    """Where the steps of a sampler begin, and the 0 where the last one ends.

    Chapter 7, "The shift".

    They are the `sigmas` of Diffusers' FlowMatchEulerDiscreteScheduler, to the last bit. That
    scheduler spaces them evenly from 1 down to 1/1000 and shifts them, but with one oddity: the
    last of them is shifted twice (diffusers#13243), so the last step is longer than the formula
    says.

    Args:
        num_steps: 1 to 1000.
        shift: as for `shifted`.

    Returns:
        (num_steps + 1,) falling float32 from 1 to 0, on the CPU.

    Raises:
        ValueError: the steps are out of range, or the shift is no number above 0.
    """
    num_steps = whole("num_steps", num_steps)
    if not 1 <= num_steps <= TRAINED:
        raise ValueError(f"num_steps is 1 to {TRAINED}, but {num_steps} was given.")
    last = shifted(torch.tensor(1 / TRAINED), shift).item()
    even = np.linspace(TRAINED * 1.0, TRAINED * last, num_steps) / TRAINED
    stops = shifted(torch.from_numpy(even), shift).float()
    return torch.cat([stops, torch.zeros(1)])


def logit_normal(
    count: int, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Draw the t of training: the sigmoid of normal numbers, so that most lie in the middle.

    Chapter 7, "Which t to learn". Esser et al. 2024, section 3.1.

    Args:
        count: how many.
        mean: above 0 there is more noise, below 0 less.
        std: how far they spread, above 0.
        generator: on the CPU; None takes torch's global one.

    Returns:
        (count,) between 0 and 1, float32, on the CPU.

    Raises:
        ValueError: something else than such numbers.
    """
    if whole("count", count) < 1:
        raise ValueError(f"count is {count}, but at least 1 is needed.")
    normal = torch.randn(count, generator=generator)
    return (number("mean", mean) + _positive("std", std) * normal).sigmoid()


def logit_normal_density(t: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """How densely `logit_normal` lies at t: Esser et al. 2024, equation 19.

    Chapter 7, "Which t to learn".

    Args:
        t: between 0 and 1, both left out.
        mean: as for `logit_normal`.
        std: as for `logit_normal`.

    Raises:
        ValueError: the mean is no number, or the std none above 0.
    """
    mean, std = number("mean", mean), _positive("std", std)
    bell = torch.exp(-((torch.logit(t) - mean) ** 2) / (2 * std**2))
    return bell / (std * math.sqrt(2 * math.pi) * t * (1 - t))


def _positive(name: str, value: float) -> float:
    checked = number(name, value)
    if checked <= 0:
        raise ValueError(f"{name} is {value}, but it is a number above 0.")
    return checked
