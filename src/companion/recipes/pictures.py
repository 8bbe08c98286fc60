"""Between scenes and tensors, as every task needs it."""

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from companion.figures import tile
from companion.scenes import Scene, scene


def scene_batch(seeds: Iterable[int], subset: str, size: int) -> tuple[Tensor, list[Scene]]:
    """Scenes as float32 of shape (batch, 3, size, size) in the range -1..1, and the scenes
    themselves."""
    scenes = [scene(seed, subset=subset, size=size) for seed in seeds]
    pixels = torch.from_numpy(np.stack([drawn.pixels for drawn in scenes]))
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1, scenes


def compared(*rows: Tensor) -> Image.Image:
    """Batches of at least 16 pictures below each other: the first eight of each, then the next.

    Args:
        rows: (batch, 1 or 3, height, width) in -1..1, all of one size.
    """
    coloured = [row.expand(-1, 3, -1, -1) for row in rows]
    return tile(torch.cat([row[n : n + 8] for n in (0, 8) for row in coloured]))
