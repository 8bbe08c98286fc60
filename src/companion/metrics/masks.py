"""How alike two masks are."""

from typing import TypeVar

import numpy as np
from torch import Tensor

from companion.door.numbers import shown

Masks = TypeVar("Masks", np.ndarray, Tensor)


def iou(first: Masks, second: Masks) -> Masks:
    """Intersection over union (Jaccard 1901) of each pair of masks.

    Chapter 6, "A picture that nobody generated".

    A map becomes a mask by a threshold: `iou(heat > 0.4, mask)`.

    Args:
        first: bool, arrays or tensors of shape (..., height, width).
        second: the same, of one height and width with it; the sides before these broadcast.

    Returns:
        (...), 0..1; 0 where both are empty.

    Raises:
        ValueError: what is given are no such masks, or one is an array and one a tensor.
    """
    _check(first, second)
    both, either = (first & second).sum((-2, -1)), (first | second).sum((-2, -1))
    return both / either.clip(1)


def _check(first: Masks, second: Masks) -> None:
    for mask in (first, second):
        if not isinstance(mask, np.ndarray | Tensor):
            raise ValueError(f"A mask is an array or a tensor, but {shown(mask)} was given.")
        if not str(mask.dtype).endswith("bool"):
            raise ValueError(
                f"A mask is bool, but one of {mask.dtype} was given: compare it with a threshold, "
                "as in heat > 0.4."
            )
    if isinstance(first, Tensor) != isinstance(second, Tensor):
        raise ValueError("One mask is an array and one a tensor: turn one into the other's kind.")
    shapes = tuple(first.shape), tuple(second.shape)
    try:
        np.broadcast_shapes(*shapes)
        fit = min(map(len, shapes)) >= 2 and shapes[0][-2:] == shapes[1][-2:]
    except ValueError:
        fit = False
    if not fit:
        raise ValueError(
            f"Masks of the shapes {shapes[0]} and {shapes[1]} cannot be compared: both are (..., "
            "height, width), of one size."
        )
