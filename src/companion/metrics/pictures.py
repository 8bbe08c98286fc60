"""How alike two pictures are."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from companion.door.pictures import as_rgb


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
