"""What every measurement of the zoo uses: seeds that training never saw, and a few figures.

Seeds of held-out scenes begin at HELD_OUT; training uses seeds far below.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

HELD_OUT = 2 * 10**9
Figures = dict[str, float]


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
