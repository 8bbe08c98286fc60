"""How alike two masks are."""

from typing import TypeVar

import numpy as np
from torch import Tensor

Masks = TypeVar("Masks", np.ndarray, Tensor)


def iou(first: Masks, second: Masks) -> Masks:
    """Intersection over union (Jaccard 1901) of each pair of masks.

    Chapter 6, "A picture that nobody generated".

    A map becomes a mask by a threshold: `iou(heat > 0.4, mask)`.

    Args:
        first: bool, arrays or tensors of shape (..., height, width).
        second: the same, of a shape that goes with it.

    Returns:
        (...), 0..1; 0 where both are empty.
    """
    both, either = (first & second).sum((-2, -1)), (first | second).sum((-2, -1))
    return both / either.clip(1)
