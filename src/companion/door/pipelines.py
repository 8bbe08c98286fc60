"""Pipelines of Diffusers: the scheduler is tried before they draw, and NaN found while they do."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import diffusers
import torch
from diffusers.configuration_utils import ConfigMixin

from .numbers import shown
from .text import fault_of

STEPS_OTHERWISE = (
    "steps in another way than Stable Diffusion's pipelines do: take another scheduler."
)


def scheduler_class(name: Any) -> Any:
    """Diffusers' scheduler of that name, which a file may choose freely; None if there is none."""
    named = isinstance(name, str) and "Scheduler" in name
    found = getattr(diffusers, name, None) if named else None
    bases = (diffusers.SchedulerMixin, ConfigMixin)
    is_scheduler = isinstance(found, type) and all(issubclass(found, base) for base in bases)
    return found if is_scheduler else None


def check_scheduler(scheduler: Any, given: Mapping[str, Any]) -> None:
    """Try the first step of a pipeline's scheduler, on a copy, as the pipeline will take it.

    Args:
        scheduler: the pipeline's.
        given: what its `set_timesteps` will be called with.

    Raises:
        ValueError: it cannot step so.
    """
    try:
        try_steps(copy.deepcopy(scheduler), given, 1)
    except Exception as error:  # each class has its own
        kind: Any = type(scheduler)
        if not serves(kind):
            raise ValueError(f"A {kind.__name__} {STEPS_OTHERWISE}") from error
        raise ValueError(
            f"The pipeline's {kind.__name__} cannot be used here ({fault_of(error)}): "
            f"take another scheduler."
        ) from error


@cache
def serves(kind: Any) -> bool:
    """Whether a class steps as pipelines of Stable Diffusion do; signatures alone do not tell."""
    try:
        try_steps(kind(), {"num_inference_steps": 10})
    except Exception:  # each class has its own
        return False
    return True


def try_steps(scheduler: Any, given: Mapping[str, Any], steps: int | None = None) -> None:
    """Take the first steps of a scheduler as a loop does, or all, each with zeros as the answer.

    Args:
        scheduler: one that nobody else uses, as its state changes.
        given: what its `set_timesteps` is called with.
        steps: how many.
    """
    if scheduler.order < 1:  # pipelines divide by it
        raise ValueError(f"its order is {scheduler.order}")
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():  # some draw noise
        warnings.simplefilter("ignore")  # what they say is said again when they really step
        for name, value in vars(scheduler).items():
            if isinstance(value, torch.Tensor):  # add_noise leaves alpha_bar on a GPU
                setattr(scheduler, name, value.cpu())
        scheduler.set_timesteps(**given)
        latents = torch.zeros(1, 4, 2, 2) * float(scheduler.init_noise_sigma)
        for t in scheduler.timesteps[:steps]:
            scheduler.scale_model_input(latents, t)
            latents = scheduler.step(latents, t, latents, return_dict=False)[0]


def check_steps(scheduler: Any, steps: int) -> None:
    """A model knows so many noise levels as it was trained with.

    Raises:
        ValueError: there are more steps than that.
    """
    levels = scheduler.config.get("num_train_timesteps", 1000)
    if steps > levels:
        raise ValueError(
            f"num_inference_steps is {shown(steps)}, but the model knows {levels} noise levels: "
            f"take no more steps than that."
        )


def check_first_level(scheduler: Any, timestep: Any) -> None:
    """From pure noise the picture cannot be told by the noise in it: that divides by zero.

    Args:
        scheduler: the pipeline's.
        timestep: the first that will be taken.

    Raises:
        ValueError: the model is asked for the noise where there is nothing else.
    """
    kept = getattr(scheduler, "alphas_cumprod", None)
    if kept is None or scheduler.config.get("prediction_type", "epsilon") != "epsilon":
        return
    if kept[int(timestep)] <= 0:
        raise ValueError(
            "The scheduler begins with pure noise (zero terminal SNR), but the model predicts "
            "epsilon, which says nothing there and gives NaN: set rescale_betas_zero_snr=False, or "
            "take a model that predicts v."
        )


@contextmanager
def nan_in_a_sentence(pipe: Any) -> Iterator[None]:
    """Look at what goes into the VAE's decoder and comes out: of NaN a pipeline makes black.

    Raises:
        ValueError: one of them holds NaN.
    """

    def look(_: Any, latents: tuple[torch.Tensor, ...], picture: torch.Tensor) -> None:
        if latents[0].isnan().any():
            dtype = latents[0].dtype if unet is None else unet.dtype
            raise ValueError(f"The picture holds NaN: {_why_nan('UNet', dtype)}.")
        if picture.isnan().any():
            raise ValueError(f"The picture holds NaN: {_why_nan('VAE', picture.dtype)}.")

    unet = getattr(pipe, "unet", None)  # a transformer is in its place in others
    with looked_at(getattr(getattr(pipe, "vae", None), "decoder", None), look):
        yield


@contextmanager
def looked_at(module: Any, look: Callable[[Any, Any, Any], None]) -> Iterator[None]:
    """Hand what goes into a part and comes out of it to `look`, if the pipeline has that part."""
    if not isinstance(module, torch.nn.Module):
        yield
        return
    hook = module.register_forward_hook(look)
    try:
        yield
    finally:
        hook.remove()


def _why_nan(network: str, dtype: torch.dtype) -> str:
    if dtype in (torch.float16, torch.bfloat16):
        return f"in half precision the {network} can overflow, so load the pipeline in float32"
    return (
        f"{network} and scheduler computed in float32, so half precision is not the cause; try a "
        f"smaller guidance_scale or another scheduler, else the model's weights are damaged"
    )
