"""How alike two pictures are."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from companion.door.numbers import number, shown, whole
from companion.door.pictures import as_rgb


def peak_signal_noise_ratio(first: Tensor, second: Tensor, data_range: float = 2.0) -> Tensor:
    """PSNR in dB of each pair of pictures: 10 log10(data_range² / mean squared difference).

    Chapter 3, "Pictures become latents, and back".

    Args:
        first: (batch, channels, height, width), fractions of any range.
        second: the same shape, and the same range.
        data_range: from the darkest value there can be to the brightest; 2 for -1..1.

    Returns:
        (batch,); infinite for equal pictures.

    Raises:
        ValueError: the pictures are no fractions or have other shapes, or the range is not above 0.
    """
    first, second = _checked(first, second)
    if len(first) != len(second):
        raise ValueError(
            f"Each picture is compared with one, but there are {len(first)} and {len(second)}: "
            "give as many of both."
        )
    if (data_range := number("The range of the pictures", data_range)) <= 0:
        raise ValueError(f"The range of the pictures is {data_range}, but it is above 0.")
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
        count: how many neighbours, 1 to as many as the library has.

    Returns:
        Two tensors of shape (batch, count), the nearest first; distances are 0..2.

    Raises:
        ValueError: the pictures are no fractions or have other sizes, or the library has fewer than
            count.
    """
    queries, library = _checked(queries, library)
    if not 1 <= (count := whole("The count of neighbours", count)) <= len(library):
        raise ValueError(
            f"The library has {len(library)} pictures, so {count} neighbours cannot be found: ask "
            "for 1 at least, and for no more than it has."
        )
    flat, shelf = queries.flatten(1), library.flatten(1)
    distances = torch.cdist(flat, shelf) / flat.shape[1] ** 0.5
    found = distances.topk(count, largest=False)
    return found.values, found.indices


def _checked(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one type, of float32 at least: half precision has no distances on a CPU."""
    for pictures in (first, second):
        if not isinstance(pictures, Tensor):
            raise ValueError(f"Pictures are a tensor, but {shown(pictures)} was given.")
        if not pictures.is_floating_point():
            raise ValueError(
                f"Pictures are fractions, but {pictures.dtype} was given: divide whole shades "
                "first, as in pixels / 127.5 - 1."
            )
    size = first.shape[1:]
    if first.ndim != 4 or second.shape[1:] != size or not size.numel():
        raise ValueError(
            f"Pictures of the shapes {tuple(first.shape)} and {tuple(second.shape)} cannot be "
            "compared: both are (batch, channels, height, width), of one size."
        )
    kind = torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)
    return first.to(kind), second.to(kind)
