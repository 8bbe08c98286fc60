"""Depth of scenes as tensors."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from companion.scenes import Scene
from companion.scenes.atlas import sprite

NEAR = 0.15  # an object; less than half of the smallest one's inverse depth


def scene_depths(scenes: Sequence[Scene]) -> Tensor:
    """The scenes' inverse depth, (batch, size, size): 0 far, more is nearer."""
    return torch.from_numpy(np.stack([scene.depth for scene in scenes]))


def as_pictures(depths: Tensor) -> Tensor:
    """Inverse depth to be looked at: (batch, height, width) of 0..1 to (batch, 1, height, width) of
    -1..1."""
    return depths[:, None] * 2 - 1


def to_latent_size(depths: Tensor) -> Tensor:
    """Depth as `StableDiffusionDepth2ImgPipeline` gives it to the UNet: bicubic, a quarter of the
    side, stretched to -1..1; (batch, height, width) to (batch, 1, height / 4, width / 4)."""
    small = F.interpolate(depths[:, None], scale_factor=0.25, mode="bicubic")
    low, high = (edge(small, dim=(1, 2, 3), keepdim=True) for edge in (torch.amin, torch.amax))
    return 2 * (small - low) / (high - low) - 1


def outlined(scene: Scene, names: Sequence[str], generator: torch.Generator) -> Scene:
    """The scene with the outlines, in `masks` and so in `depth`, of any of the named objects in the
    same places."""
    masks = np.zeros_like(scene.masks)
    for mask, thing in zip(masks, scene.objects, strict=True):
        name = names[int(torch.randint(len(names), (), generator=generator))]
        where = np.s_[thing.top : thing.top + thing.side, thing.left : thing.left + thing.side]
        mask[where] = sprite(name, thing.style, thing.side)[..., 3] >= 128
    return replace(scene, masks=masks)
