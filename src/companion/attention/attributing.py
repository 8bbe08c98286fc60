"""Attention on a picture that exists: noise it, and let the denoiser look once."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from diffusers import DDPMScheduler, SD3Transformer2DModel, UNet2DConditionModel
from PIL import Image
from torch import Tensor

from companion.door.compiled import uncompiled
from companion.door.numbers import is_several, listed, whole
from companion.door.pictures import as_rgb
from companion.door.prompts import check_text
from companion.stable_diffusion import scale_and_shift, seeded

from .calls import NOISES
from .directions import TO_PICTURE, Direction, direction_of
from .layers import find_layers
from .sums import HeatMaps
from .tracing import trace


@torch.no_grad()
def attribute(
    pipe: Any,
    image: Image.Image | Sequence[Image.Image],
    prompt: str | Sequence[str],
    timesteps: int | Sequence[int] = 200,
    *,
    seeds: int | Sequence[int] = 0,
    by: Iterable[str] = ("layer", "head"),
    direction: str = TO_PICTURE.name,
    among_sources: bool = False,
    max_sequence_length: int | None = None,
) -> HeatMaps:
    """Gather which words the pixels of real pictures attend to.

    Chapter 6, "A picture that nobody generated".

    Each picture is encoded, noised to a timestep as in training, and given to the denoiser once
    with its prompt, without guidance; with several timesteps, once for each.

    Args:
        pipe: a Stable Diffusion pipeline, 1, 2, XL or 3.
        image: a picture of any mode, or several of one size; turned as its EXIF data say, on
            white where it is transparent.
        prompt: what is on it: a text for each picture.
        timesteps: how far to noise, from 0 to 999 as a rule; with much noise on it the denoiser
            sees little of a picture. Each is a step of the maps.
        seeds: of the noise: one for each picture, or one for all.
        by: as for `trace`; with "step", the timesteps are kept apart.
        direction: as for `trace`.
        among_sources: as for `trace`.
        max_sequence_length: for Stable Diffusion 3, how many tokens of T5 there are; by default as
            many as the pipeline takes by itself.

    Returns:
        The maps, `image_idx` counting the pictures and `step_idx` the timesteps.

    Raises:
        ValueError: a pipeline without such a denoiser, not as many prompts or seeds as pictures,
            pictures of several sizes, or a timestep that the model was not trained on.
    """
    given = listed(image)
    if not all(isinstance(picture, Image.Image) for picture in given):
        raise ValueError("A picture to attribute has to be a PIL image: open it with Image.open.")
    images = [as_rgb(picture) for picture in given]
    prompts = listed(prompt)
    for text in prompts:
        check_text("A prompt", text)
    times = [whole("A timestep", timestep) for timestep in listed(timesteps)]
    per_picture = listed(seeds) if is_several(seeds) else [seeds] * len(images)
    generators = [seeded(seed) for seed in per_picture]
    asked = direction_of(direction)
    _check(pipe, images, prompts, times, len(generators), asked)
    device = pipe._execution_device
    latents = _encode(pipe, images, device)
    noise = torch.cat(
        [torch.randn(latents[:1].shape, generator=generator) for generator in generators]
    ).to(latents)
    with trace(pipe, by, direction=direction, among_sources=among_sources) as maps:
        embeddings = pipe.encode_prompt(
            prompt=prompts,
            device=device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
            **_of_sd3(pipe, max_sequence_length),
        )
        for time in times:
            t = torch.full((len(images),), time, device=device)
            _look(pipe, latents, noise, t, embeddings, images[0])
    return maps


def _of_sd3(pipe: Any, max_sequence_length: int | None) -> dict[str, Any]:
    """What only Stable Diffusion 3 is told to encode a prompt."""
    if not isinstance(uncompiled(_denoiser(pipe)), SD3Transformer2DModel):
        return {}
    length = {} if max_sequence_length is None else {"max_sequence_length": max_sequence_length}
    return {"prompt_2": None, "prompt_3": None, **length}


def _denoiser(pipe: Any) -> Any:
    unet = getattr(pipe, "unet", None)  # a compiled one has no truth value
    return getattr(pipe, "transformer", None) if unet is None else unet


def _look(
    pipe: Any, latents: Tensor, noise: Tensor, t: Tensor, embeddings: Any, image: Image.Image
) -> None:
    """One call of the denoiser, on what it was trained to see, whatever the pipeline samples
    with."""
    denoiser = _denoiser(pipe)
    if isinstance(uncompiled(denoiser), UNet2DConditionModel):
        training = DDPMScheduler.from_config(pipe.scheduler.config)
        denoiser(
            training.add_noise(latents, noise, t).to(denoiser.dtype),
            t,
            encoder_hidden_states=embeddings[0],
            **_conditions(pipe, embeddings, image),
        )
        return
    # Esser et al. 2024, section 2: x_t = (1 - t) x_0 + t ε
    part = (t / NOISES).view(-1, 1, 1, 1)
    denoiser(
        hidden_states=((1 - part) * latents + part * noise).to(denoiser.dtype),
        timestep=t,
        encoder_hidden_states=embeddings[0],
        pooled_projections=embeddings[2],
    )


def _check(
    pipe: Any,
    images: Sequence[Image.Image],
    prompts: Sequence[str],
    times: Sequence[int],
    seeds: int,
    direction: Direction,
) -> None:
    denoiser = uncompiled(_denoiser(pipe))
    vae = getattr(pipe, "vae", None)
    if denoiser is not None:
        find_layers(denoiser, direction)  # raises the sentence of `trace`
    if (
        not isinstance(denoiser, UNet2DConditionModel | SD3Transformer2DModel)
        or vae is None
        or denoiser.config.in_channels != vae.config.latent_channels
    ):
        raise ValueError(
            f"The denoiser of a {type(pipe).__name__} does not take noised latents alone: "
            f"attribute needs a text-to-image pipeline of Stable Diffusion 1, 2, XL or 3."
        )
    if not images or len(prompts) != len(images) or seeds != len(images):
        raise ValueError(
            f"There are {len(images)} pictures, {len(prompts)} prompts and {seeds} seeds: "
            f"give a prompt and a seed for each picture."
        )
    if len({image.size for image in images}) > 1:
        raise ValueError("The pictures have several sizes: give those of one size at a time.")
    factor = pipe.vae_scale_factor
    if min(images[0].size) < factor:
        raise ValueError(
            f"A picture of {images[0].width}x{images[0].height} pixels has no latents: give one of "
            f"at least {factor} a side."
        )
    count = pipe.scheduler.config.num_train_timesteps
    if not times or not all(0 <= time < count for time in times):
        raise ValueError(f"timesteps={list(times)}, but the model knows 0 to {count - 1}.")


def _encode(pipe: Any, images: Sequence[Image.Image], device: torch.device) -> Tensor:
    """The VAE's mean, scaled as the UNet knows it, in float32."""
    vae = pipe.vae
    pixels = pipe.image_processor.preprocess(list(images))
    precision = vae.dtype
    overflows = precision == torch.float16 and vae.config.force_upcast  # SDXL's does
    try:
        if overflows:
            vae.to(torch.float32)
        latents = vae.encode(pixels.to(device, vae.dtype)).latent_dist.mode().float()
    finally:
        if overflows:
            vae.to(precision)
    scale, shift = scale_and_shift(vae)
    return (latents - shift) * scale


def _conditions(pipe: Any, embeddings: Any, image: Image.Image) -> dict[str, Any]:
    """What SDXL's UNet takes besides: the pooled embeddings, and the picture's size, uncropped."""
    if pipe.unet.config.addition_embed_type != "text_time":
        return {}
    pooled = embeddings[2]
    size = (image.height, image.width)
    time_ids = torch.tensor([[*size, 0, 0, *size]] * len(pooled)).to(pooled)
    return {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": time_ids}}
