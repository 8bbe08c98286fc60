"""A picture drawn and traced at once, by a model of the zoo, of a folder or of the hub.

The sentences of what goes wrong name the options of `companion attend`, which does this.
"""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, PNDMScheduler, UniPCMultistepScheduler
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from PIL import Image

from companion.door import Untrusted
from companion.door.models import INDEX, check_index, check_model_folder, check_weights
from companion.door.pipelines import check_scheduler, nan_in_a_sentence
from companion.door.text import fault_of
from companion.hub import find_endpoint
from companion.hub.errors import explain
from companion.hub.tokens import may_be_told, token_for
from companion.profile import Profile, profile
from companion.zoo import folder
from companion.zoo.registry import entries

from .explorer import Explorer, explore
from .tracing import tokens_of, trace

AN_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


def draw(
    prompt: str, phrases: list[str] | None, model: str | None, steps: int | None, seed: int
) -> tuple[Image.Image, Explorer]:
    """Draw a picture, and make it explorable: which word made which pixels.

    Args:
        prompt: what to draw.
        phrases: words or phrases of it; by default all its words.
        model: a name of the zoo, a folder, or an id of the hub; by default chapter 3's.
        steps: by default chapter 3's number.
        seed: of the noise, 0 to 2^63 - 1.

    Raises:
        ValueError: there is no such model, it cannot draw so, or a phrase is not in the prompt.
    """
    p = profile()
    pipe, guidance = _load(model, p)
    steps = steps or p.settings["text_to_image"]["num_inference_steps"]
    with trace(pipe, by="step") as maps:
        if "image" in inspect.signature(type(pipe).__call__).parameters:
            raise ValueError(
                f"A {type(pipe).__name__} draws from a picture, not from words alone: name a "
                "text-to-image model with --model."
            )
        most = pipe.scheduler.config.get("num_train_timesteps", 1000)
        if steps > most:
            raise ValueError(f"--steps is {steps}, but this model knows {most} at most.")
        tokens_of(pipe, prompt).chosen(phrases)  # says so now if one is not there
        if hasattr(pipe, "unet"):
            check_scheduler(pipe.scheduler, {"num_inference_steps": steps})
        try:
            with nan_in_a_sentence(pipe):
                picture = pipe(
                    prompt,
                    num_inference_steps=steps,
                    generator=torch.Generator().manual_seed(seed),
                    **guidance,
                ).images[0]
        except Exception as error:  # a library's, in its own words
            raise ValueError(
                f"The model {model or p.stable_diffusion!r} could not draw this "
                f"({fault_of(error)})."
            ) from error
    return picture, explore(maps, picture, phrases, title=f"{prompt} (seed {seed})")


def _load(model: str | None, p: Profile) -> tuple[Any, dict[str, float]]:
    """The pipeline, and what it is called with for its guidance."""
    in_zoo = model in entries() if model else p.models["stable_diffusion"].zoo
    guidance = (profile("small") if in_zoo else p).settings["text_to_image"]["guidance_scale"]
    if not model:
        where = Path(p.stable_diffusion)
    elif in_zoo:
        where = Path(folder(model))
    else:
        where, guidance = _folder(model), None
    check_model_folder(where)
    try:
        pipe = DiffusionPipeline.from_pretrained(where, dtype=p.dtype, use_safetensors=True)
        if isinstance(getattr(pipe, "scheduler", None), PNDMScheduler):
            # PNDM needs twice the steps (chapter 3).
            pipe.scheduler = UniPCMultistepScheduler.from_config(
                pipe.scheduler.config, timestep_spacing="linspace"
            )
        check_weights(pipe, where)
    except Untrusted:
        raise
    except Exception as error:  # libraries raise what they like
        raise ValueError(
            f"{model or str(where)!r} could not be loaded as a pipeline ({fault_of(error)}): "
            f"name the zoo's stable-diffusion, a folder with a model_index.json, or an id on the "
            f"hub."
        ) from error
    return pipe.to(p.device), {} if guidance is None else {"guidance_scale": guidance}


def _folder(model: str) -> Path:
    """The folder of a model that is not the zoo's: the reader's own, or of the hub's cache.

    From the hub only safetensors come, and the token goes to the official endpoint alone.
    """
    if os.path.lexists(model) or not AN_ID.fullmatch(model):
        return Path(model)
    try:
        token = token_for(find_endpoint(), may_be_told())
        check_index(Path(hf_hub_download(model, INDEX, token=token)))  # Diffusers takes it as it is
        return Path(DiffusionPipeline.download(model, use_safetensors=True, token=token))
    except Untrusted:
        raise
    except Exception as error:  # libraries raise what they like
        raise _not_fetched(error, model) from error


def _not_fetched(error: Exception, model: str) -> Exception:
    """The sentence for what Diffusers says of a model that it cannot fetch."""
    cause: BaseException | None = error
    while cause is not None:
        of_network = hasattr(type(cause), "request")  # those of httpx, whatever it is called
        if of_network or isinstance(cause, (HfHubHTTPError, OfflineModeIsEnabled)):
            return explain(cause, find_endpoint(), model)
        cause = cause.__cause__
    if isinstance(error, OSError) and error.errno is not None:  # the disk's
        return explain(error, find_endpoint(), model)
    if "safetensors" in str(error):
        return ValueError(
            f"Some of the weights of {model} are not on the hub as safetensors, and pickles may "
            "run code when they are read: take a copy of the model whose weights are safetensors."
        )
    return ValueError(f"{model} could not be fetched as a pipeline ({fault_of(error)}).")
