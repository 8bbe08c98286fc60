"""Models of real shapes with random weights: `architectures.toml` says which."""

import copy
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from torch import nn

from companion.autopipeline import make_scheduler
from companion.stable_diffusion import load_parts
from companion.zoo import folder

ARCHITECTURES = Path(__file__).with_name("architectures.toml")


@cache
def architectures() -> dict[str, dict[str, Any]]:
    """All of `architectures.toml`."""
    return tomllib.loads(ARCHITECTURES.read_text(encoding="utf-8"))


def networks(name: str, device: str) -> dict[str, nn.Module]:
    """The networks of an architecture, random but always the same, in float32.

    Raises:
        ValueError: the configuration does not give as many parameters as the published model has.
    """
    described = architectures()[name]
    torch.manual_seed(0)
    made: dict[str, nn.Module] = {}
    for part, values in described.items():
        if not isinstance(values, dict):
            continue
        config = dict(values)
        expected = config.pop("parameters", None)
        with torch.device(device):
            made[part] = _network(part, config).eval()
        count = sum(weights.numel() for weights in made[part].parameters())
        if expected not in (None, count):
            raise ValueError(f"The {part} of {name} has {count:,} parameters, not {expected:,}.")
    return made


def _network(part: str, config: dict[str, Any]) -> nn.Module:
    if part == "unet":
        return diffusers.UNet2DConditionModel(**config)
    if part == "vae":
        return diffusers.AutoencoderKL(**config)
    kind = "CLIPTextModelWithProjection" if part == "text_encoder_2" else "CLIPTextModel"
    return getattr(transformers, kind)(transformers.CLIPTextConfig(**config))


def pipeline(name: str, made: dict[str, nn.Module], scheduler: str = "UniPC") -> Any:
    """Diffusers' pipeline of an architecture, with copies of the networks and CLIP's tokenizer."""
    zoo = load_parts(folder("stable-diffusion"))
    parts: dict[str, Any] = copy.deepcopy(made)
    parts |= {"tokenizer": zoo.tokenizer, "scheduler": make_scheduler(scheduler, zoo.scheduler)}
    if "text_encoder_2" in parts:
        parts |= {"tokenizer_2": zoo.tokenizer, "add_watermarker": False}
    else:
        parts |= {"safety_checker": None, "requires_safety_checker": False}
        parts |= {"feature_extractor": None}
    pipe = getattr(diffusers, architectures()[name]["pipeline"])(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe
