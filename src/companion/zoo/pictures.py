"""Between scenes and tensors, as every task needs it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from companion.scenes import Scene, scene


def scene_batch(seeds: Iterable[int], subset: str, size: int) -> tuple[Tensor, list[Scene]]:
    """Scenes as float32 of shape (batch, 3, size, size) in the range -1..1, and the scenes
    themselves."""
    scenes = [scene(seed, subset=subset, size=size) for seed in seeds]
    pixels = torch.from_numpy(np.stack([one.pixels for one in scenes]))
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1, scenes


def tile(images: Tensor, columns: int = 8) -> Image.Image:
    """One picture of a batch of shape (batch, channels, height, width) in -1..1, row by row.

    One channel is grey, 3 are RGB, 4 are RGBA.
    """
    images = ((images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    batch, channels, height, width = images.shape
    rows = -(-batch // columns)
    canvas = torch.zeros(rows * columns, channels, height, width, dtype=torch.uint8)
    canvas[:batch] = images
    canvas = canvas.view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    pixels = canvas.reshape(rows * height, columns * width, channels).numpy()
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def sheet(images: list[Image.Image], columns: int) -> Image.Image:
    """One picture of many of one size, row by row."""
    width, height = images[0].size
    whole = Image.new("RGB", (columns * width, -(-len(images) // columns) * height))
    for number, image in enumerate(images):
        whole.paste(image, (number % columns * width, number // columns * height))
    return whole


def save_enlarged(picture: Image.Image, path: Path, times: int) -> None:
    """Save a picture with every pixel as a square of so many."""
    size = (picture.width * times, picture.height * times)
    picture.resize(size, Image.Resampling.NEAREST).save(path, optimize=True)
