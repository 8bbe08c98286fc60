"""What a denoiser is called with: how large the picture is, and where its places stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffusers import (
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    ZImageTransformer2DModel,
)
from torch import Tensor, nn

NOISES = 1000  # timesteps are told from 0 to that


@dataclass(frozen=True)
class View:
    """One call of the denoiser.

    Attributes:
        batch: how many rows.
        height: of the latents.
        width: of the latents.
        timestep: 0 to 1000, 1000 is noise alone.
        tokens: how many items of a row's sequence are text, where words and places stand in one.
        places: how many are the picture; None where a layer has no others. What is more is padding,
            or another picture to draw after.
        text_at: where in the sequence the text begins.
        picture_at: where the picture begins.
    """

    batch: int
    height: int
    width: int
    timestep: Any
    tokens: int | None = None
    places: int | None = None
    text_at: int = 0
    picture_at: int = 0


def view_of(denoiser: nn.Module, given: Mapping[str, Any]) -> View:
    """What a denoiser was called with, told from the arguments of its `forward`."""
    if isinstance(denoiser, FluxTransformer2DModel | Flux2Transformer2DModel):
        ids = given["img_ids"]
        ids = ids[0] if ids.ndim == 3 else ids  # (items, axes): which picture, row, column, ...
        places = int((ids[:, 0] == 0).sum())
        rows, columns = (int(side) + 1 for side in ids[:places, 1:3].amax(0))
        return _packed(given, rows, columns)
    if isinstance(denoiser, QwenImageTransformer2DModel):
        _, rows, columns = given["img_shapes"][0][0]
        return _packed(given, rows, columns)
    if isinstance(denoiser, ZImageTransformer2DModel):
        return _listed(given)
    latents: Tensor = given["sample" if "sample" in given else "hidden_states"]
    height, width = latents.shape[-2:]
    return View(len(latents), height, width, _last(given["timestep"]))


def _packed(given: Mapping[str, Any], rows: int, columns: int) -> View:
    """Latents of which the pipeline has laid each 2x2 into one item, behind the text."""
    tokens = given["encoder_hidden_states"].shape[1]
    return View(
        batch=len(given["hidden_states"]),
        height=2 * rows,
        width=2 * columns,
        timestep=_last(given["timestep"]) * NOISES,
        tokens=tokens,
        places=rows * columns,
        picture_at=tokens,
    )


def _listed(given: Mapping[str, Any]) -> View:
    """Z-Image's: a list of latents, filled up to a multiple of 32 places, and then the text."""
    if isinstance(given["x"][0], list):
        raise ValueError("Z-Image's model for several pictures cannot be traced: draw from words.")
    height, width = given["x"][0].shape[-2:]
    patch = given["patch_size"]
    places = (height // patch) * (width // patch)
    return View(
        batch=len(given["x"]),
        height=height,
        width=width,
        timestep=(1 - _last(given["t"])) * NOISES,
        tokens=max(map(_filled, map(len, given["cap_feats"]))),
        places=places,
        text_at=_filled(places),
    )


def _filled(items: int) -> int:
    return -(-items // 32) * 32


def _last(timestep: Any) -> Any:
    # Not yet a number: the GPU need not wait.
    return timestep.detach().flatten()[-1] if isinstance(timestep, Tensor) else timestep
