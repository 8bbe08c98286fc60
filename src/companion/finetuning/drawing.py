"""Pictures of prompts by a pipeline, each of its own seed: however many are drawn at one time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler
from PIL import Image

from companion.stable_diffusion import Parts

STEPS = 15


def draw(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    size: int = 64,
    steps: int = STEPS,
    guidance_scale: float = 4.0,
    batch_size: int = 16,
) -> list[Image.Image]:
    """A picture for each prompt, by UniPC (Zhao et al. 2023), which needs few steps.

    Args:
        pipeline: a Stable Diffusion; its own scheduler is put back.
        prompts: one a picture.
        seeds: of the noise, one a picture.
        size: side of the square pictures in pixels.
        steps: denoising steps.
        guidance_scale: how much the prompt counts (Ho and Salimans 2022).
        batch_size: pictures at one time.
    """
    images: list[Image.Image] = []
    with _prepared(pipeline):
        for start in range(0, len(prompts), batch_size):
            part = [*prompts[start : start + batch_size]]
            drawn: Any = pipeline(
                part,
                height=size,
                width=size,
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
                generator=[
                    torch.Generator().manual_seed(seed)
                    for seed in seeds[start : start + batch_size]
                ],
            )
            images += drawn.images
    return images


def pipeline_of(parts: Parts) -> StableDiffusionPipeline:
    """The parts as stock Diffusers puts them together."""
    return StableDiffusionPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.unet,
        scheduler=parts.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@contextmanager
def _prepared(pipeline: StableDiffusionPipeline) -> Iterator[None]:
    """Without a bar, and with a scheduler that begins where pure noise belongs, at the last
    timestep; then as before."""
    scheduler, bar = pipeline.scheduler, dict(getattr(pipeline, "_progress_bar_config", {}))
    pipeline.scheduler = UniPCMultistepScheduler.from_config(
        scheduler.config, timestep_spacing="linspace"
    )
    pipeline.set_progress_bar_config(disable=True)
    try:
        with torch.no_grad():
            yield
    finally:
        pipeline.scheduler = scheduler
        pipeline.set_progress_bar_config(**bar)
