"""Noise and timesteps of a step: they follow from the seed and the number of the picture alone.

The pictures that a run sees are numbered from 0 to its end. Picture n gets the same noise whether
it is the third of a batch of 32 in one process or the first of 16 in the second of two, and
whether the run was cut off before it or not.
"""

import numpy as np
import torch
from torch import Tensor


def draw_noise(
    images: Tensor, num_train_timesteps: int, *, seed: int, first: int
) -> tuple[Tensor, Tensor]:
    """Gaussian noise and uniform timesteps for a batch.

    Args:
        images: (batch, channels, height, width); its shape, type and device are the noise's.
        num_train_timesteps: timesteps are drawn from 0 .. num_train_timesteps - 1.
        seed: the run's.
        first: number of the batch's first picture in the run.

    Returns:
        Noise of the images' shape, timesteps of shape (batch,).
    """
    noise = torch.empty_like(images, memory_format=torch.contiguous_format)
    generator = torch.Generator(images.device)
    timesteps = []
    for row in range(len(images)):
        stream = np.random.default_rng((seed, first + row))
        timesteps.append(int(stream.integers(num_train_timesteps)))
        generator.manual_seed(int(stream.integers(2**32)))  # torch's CPU generator takes 32 bits
        noise[row].normal_(generator=generator)
    return noise, torch.tensor(timesteps).to(images.device, non_blocking=True)
