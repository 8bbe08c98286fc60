"""Between scenes and tensors, as every task needs it."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from companion.scenes import Scene, scene


def scene_batch(seeds: Iterable[int], subset: str, size: int) -> tuple[Tensor, list[Scene]]:
    """Scenes as float32 of shape (batch, 3, size, size) in the range -1..1, and the scenes
    themselves."""
    scenes = [scene(seed, subset=subset, size=size) for seed in seeds]
    pixels = torch.from_numpy(np.stack([one.pixels for one in scenes]))
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1, scenes
