"""How well the maps of chapters 6 and 7 agree with where the objects are: what was measured, on the
whole and by a guess that does not look."""

import json
from pathlib import Path
from typing import Any

import numpy as np

TABLE = Path(__file__).with_name("agreement.json")
JOINT = Path(__file__).with_name("joint_agreement.json")


def measured() -> dict[str, Any]:
    """What `benchmarks/attention.py --write` measured last, on the zoo's Stable Diffusion.

    Returns:
        `command`, `thresholds`, `published` (mIoU of the DAAM paper), and `groups`: by kind of
        picture and by method `objects`, and `mean`, `low` and `high` at each threshold.
    """
    found: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found


def measured_joint() -> dict[str, Any]:
    """What `benchmarks/joint_attention.py --write` measured last, on the zoo's flow.

    Returns:
        `command`, `thresholds`, and `groups` as `measured`; a method's name begins with its
        direction.
    """
    found: dict[str, Any] = json.loads(JOINT.read_text(encoding="utf-8"))
    return found


def centre_square(size: int, side: int) -> np.ndarray:
    """A mask (size, size) of a square in the middle: what one finds without looking."""
    mask = np.zeros((size, size), bool)
    start = (size - side) // 2
    mask[start : start + side, start : start + side] = True
    return mask
