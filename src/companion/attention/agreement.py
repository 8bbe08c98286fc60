"""How well chapter 6's maps agree with where the objects are: what was measured, on the whole and
by a guess that does not look."""

import json
from pathlib import Path
from typing import Any

import numpy as np

TABLE = Path(__file__).with_name("agreement.json")


def measured() -> dict[str, Any]:
    """What `benchmarks/attention.py --write` measured last, on the zoo's Stable Diffusion.

    Returns:
        `command`, `thresholds`, `published` (mIoU of the DAAM paper), and `groups`: by kind of
        picture and by method `objects`, and `mean`, `low` and `high` at each threshold.
    """
    found: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found


def centre_square(size: int, side: int) -> np.ndarray:
    """A mask (size, size) of a square in the middle: what one finds without looking."""
    mask = np.zeros((size, size), bool)
    start = (size - side) // 2
    mask[start : start + side, start : start + side] = True
    return mask
