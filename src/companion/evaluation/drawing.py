"""What the measures of pipelines share: a quiet pipeline, and a seed for each picture."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor


def load(home: Path, device: torch.device, **parts: None) -> DiffusionPipeline:
    """The pipeline in that folder, in float32, without its progress bar.

    Args:
        home: the folder.
        device: where it is to draw.
        parts: those that the folder does not hold, None by name.
    """
    pipeline = DiffusionPipeline.from_pretrained(
        home, dtype=torch.float32, use_safetensors=True, **parts
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def generators(first_seed: int, count: int) -> list[torch.Generator]:
    """A CPU generator for each picture, of the seeds from the first on."""
    return [torch.Generator().manual_seed(first_seed + n) for n in range(count)]


def draw(pipeline: DiffusionPipeline, prompts: list[str], first_seed: int, **given: Any) -> Tensor:
    """The pipeline's pictures, (prompts, 3, height, width) in -1..1; `given` is what else it takes,
    by name."""
    images = pipeline(
        prompts, generator=generators(first_seed, len(prompts)), output_type="pt", **given
    ).images
    return images.cpu() * 2 - 1
