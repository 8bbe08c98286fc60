"""The layers whose attention is watched.

Nothing of a layer is replaced. Hooks take note of the queries and keys that it makes for itself, so
that whatever attention processor it carries stays, and the picture is the same.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from diffusers import (
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)
from torch import Tensor, nn

from .directions import Direction
from .queries import CROSS, DOUBLE, FUSED, JOINED, WITHIN, Kind


@dataclass(frozen=True)
class Layer:
    """A layer that lets pixels look at words, and perhaps words at pixels.

    Attributes:
        name: where in the denoiser it is, such as "up_blocks.1.attentions.0.transformer_blocks.0".
        attention: the module.
        kind: what it makes its queries and keys of.
    """

    name: str
    attention: Any
    kind: Kind

    @property
    def heads(self) -> int:
        """How many heads it has."""
        heads: int = self.attention.heads
        return heads


def find_layers(denoiser: nn.Module, direction: Direction) -> list[Layer]:
    """The layers to watch, in the order in which they run; a UNet's in daam's: up, then down.

    The block in the middle of a UNet, coarse and far from the pixels, stays out, as it does in
    daam. What the words read in a transformer's last block nobody looks at any more, so where words
    are the readers that block stays out.

    Raises:
        ValueError: a kind of denoiser that cannot be watched, or not in that direction, or one
            whose projections are fused.
    """
    if isinstance(denoiser, UNet2DConditionModel):
        layers = _of_unet(denoiser, direction)
    else:
        layers = _of_transformer(denoiser)
        if direction.reader == "text":
            layers = layers[:-1]
            if not layers:
                raise ValueError("What words read in the only block is not used: nothing to trace.")
    for layer in layers:
        if getattr(layer.attention, "fused_projections", False):
            raise ValueError(
                "The projections of the attention layers are fused, so their keys are not to be "
                "seen: call pipe.unfuse_qkv_projections() before the trace."
            )
    return layers


def _of_unet(unet: UNet2DConditionModel, direction: Direction) -> list[Layer]:
    if direction.reader == "text":
        raise ValueError(
            f"Words do not read in a UNet, so there is nothing from {direction.name}: 'text to "
            f"picture' and 'picture to picture' can be traced."
        )
    crosses = direction.source == "text"
    part, kind = ("attn2", CROSS) if crosses else ("attn1", WITHIN)
    layers = [
        Layer(f"{side}.{name}", getattr(module, part), kind)
        for side in ("up_blocks", "down_blocks")
        for name, module in getattr(unet, side).named_modules()
        if getattr(getattr(module, part, None), "is_cross_attention", None) is crosses
    ]
    if not layers:
        what = "cross-attention" if crosses else "self-attention"
        raise ValueError(f"The UNet has no {what} on its way down or up: nothing to trace.")
    return layers


def _of_transformer(denoiser: nn.Module) -> list[Layer]:
    single = JOINED if isinstance(denoiser, FluxTransformer2DModel) else FUSED
    if isinstance(denoiser, SD3Transformer2DModel | QwenImageTransformer2DModel):
        lists = {"transformer_blocks": ("attn", DOUBLE)}
    elif isinstance(denoiser, FluxTransformer2DModel | Flux2Transformer2DModel):
        lists = {
            "transformer_blocks": ("attn", DOUBLE),
            "single_transformer_blocks": ("attn", single),
        }
    elif isinstance(denoiser, ZImageTransformer2DModel):
        lists = {"layers": ("attention", JOINED)}
    else:
        raise ValueError(
            f"A {type(denoiser).__name__} cannot be traced: a UNet2DConditionModel with "
            f"cross-attention (Stable Diffusion 1, 2, XL) can, and the transformers of Stable "
            f"Diffusion 3, FLUX, FLUX.2, Qwen-Image and Z-Image."
        )
    if getattr(denoiser.config, "use_layer3d_rope", False):
        raise ValueError("Qwen-Image's model for layers draws several pictures as one: not traced.")
    return [
        Layer(f"{name}.{i}", getattr(block, part), kind)
        for name, (part, kind) in lists.items()
        for i, block in enumerate(getattr(denoiser, name))
    ]


Notify = Callable[[dict[str, Tensor], Mapping[str, Any]], None]


@contextmanager
def watched(layer: Layer, notify: Notify) -> Iterator[None]:
    """Call back with what the layer has made and was given, each time that it has run."""
    attention = layer.attention
    projections = {name: getattr(attention, name) for name in layer.kind.projections}
    made: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        made[name] = output

    def done(module: nn.Module, inputs: Any, arguments: dict[str, Any], output: Any) -> None:
        if any(getattr(attention, name) is not was for name, was in projections.items()):
            raise RuntimeError(
                f"The weights of {layer.name} were exchanged while it was traced: load adapters "
                f"before the trace begins."
            )
        if made.keys() != projections.keys():
            raise RuntimeError(
                f"{layer.name} carries a {type(attention.processor).__name__}, which does not use "
                f"the layer's own queries and keys, so its attention cannot be traced."
            )
        if arguments.get("kv_cache_mode") is not None:
            raise RuntimeError(
                "This pipeline keeps keys from one step to the next, so what its words and pixels "
                "look at cannot be seen: use the pipeline without such a cache."
            )
        notify(dict(made), arguments)
        made.clear()

    with ExitStack() as hooks:
        for name, projection in projections.items():
            handle = projection.register_forward_hook(partial(keep, name))
            hooks.callback(handle.remove)
        handle = attention.register_forward_hook(done, with_kwargs=True)
        hooks.callback(handle.remove)
        yield


def grid(pixels: int, height: int, width: int) -> tuple[int, int]:
    """Height and width of a layer with so many pixels: the latents', halved some times, up.

    Raises:
        ValueError: no halving gives that number.
    """
    while height * width > pixels:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    if height * width != pixels:
        raise ValueError(f"A layer of {pixels} pixels does not fit the latents: pictures only.")
    return height, width
