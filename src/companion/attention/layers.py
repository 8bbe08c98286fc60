"""The layers whose attention is watched, and the probabilities in each.

Nothing of a layer is replaced. Hooks take note of the queries and keys that it makes for itself, so
that whatever attention processor it carries stays, and the picture is the same.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

# Scores that are held at one time, unless a single head has more: what stays in a CPU's cache.
# Elsewhere 64 MiB, as a GPU takes as long to be told of a few heads as of all.
CHUNK_ON_CPU, CHUNK = 2**20, 2**24


@dataclass(frozen=True)
class Layer:
    """A layer that lets pixels look at words.

    Attributes:
        name: where in the denoiser it is, such as "up_blocks.1.attentions.0.transformer_blocks.0".
        attention: the module.
        joint: pixels look at words and at each other in one softmax (SD3), not at words alone.
    """

    name: str
    attention: Attention
    joint: bool = False

    @property
    def heads(self) -> int:
        """How many heads it has."""
        return self.attention.heads


@dataclass(frozen=True)
class Seen:
    """What a layer made of its input, for the whole batch.

    Attributes:
        queries: of the pixels, (batch, pixels, heads * width).
        keys: of the words, (batch, tokens, heads * width).
        pixel_keys: of the pixels in a joint layer, (batch, pixels, heads * width).
        bias: added to the scores of the words, (batch, 1, tokens), where the model masks some.
    """

    queries: Tensor
    keys: Tensor
    pixel_keys: Tensor | None = None
    bias: Tensor | None = None


def find_layers(denoiser: nn.Module) -> list[Layer]:
    """The layers to watch, in daam's order: a UNet's way up, then its way down.

    The block in the middle, coarse and far from the pixels, stays out, as it does in daam.

    Raises:
        ValueError: a kind of denoiser that cannot be watched, or one whose projections are fused.
    """
    if isinstance(denoiser, UNet2DConditionModel):
        layers = [
            Layer(f"{side}.{name}", module.attn2)
            for side in ("up_blocks", "down_blocks")
            for name, module in getattr(denoiser, side).named_modules()
            if getattr(getattr(module, "attn2", None), "is_cross_attention", False)
        ]
    elif isinstance(denoiser, SD3Transformer2DModel):
        layers = [
            Layer(f"transformer_blocks.{i}", block.attn, joint=True)
            for i, block in enumerate(denoiser.transformer_blocks)
        ]
    else:
        raise ValueError(
            f"A {type(denoiser).__name__} cannot be traced: a UNet2DConditionModel with "
            f"cross-attention (Stable Diffusion 1, 2, XL) and SD3Transformer2DModel can."
        )
    if not layers:
        raise ValueError("The UNet has no cross-attention on its way down or up: nothing to trace.")
    for layer in layers:
        if getattr(layer.attention, "fused_projections", False):
            raise ValueError(
                "The projections of the attention layers are fused, so their keys are not to be "
                "seen: call pipe.unfuse_qkv_projections() before the trace."
            )
    return layers


@contextmanager
def watched(layer: Layer, notify: Callable[[Seen], None]) -> Iterator[None]:
    """Call back with what the layer has seen, each time that it has run."""
    attention = layer.attention
    names = ("to_q", "to_k", "add_k_proj") if layer.joint else ("to_q", "to_k")
    projections = {name: getattr(attention, name) for name in names}
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
        queries, keys = made.pop("to_q"), made.pop("to_k")
        if layer.joint:
            notify(Seen(queries, made.pop("add_k_proj"), pixel_keys=keys))
        else:
            notify(Seen(queries, keys, bias=arguments.get("attention_mask")))

    with ExitStack() as hooks:
        for name, projection in projections.items():
            handle = projection.register_forward_hook(partial(keep, name))
            hooks.callback(handle.remove)
        handle = attention.register_forward_hook(done, with_kwargs=True)
        hooks.callback(handle.remove)
        yield


@torch.no_grad()
def probabilities(
    layer: Layer, seen: Seen, rows: slice, tokens: slice | list[int]
) -> Iterator[tuple[slice, Tensor]]:
    """Of each pixel's attention, the part that each token gets: softmax(QK^T / sqrt(d)).

    Chapter 6, "Query, key, softmax".

    Args:
        layer: the layer.
        seen: its queries and keys.
        rows: which of the batch.
        tokens: which tokens to give; all take part in the softmax.

    Yields:
        Some heads, and their probabilities in float32, (rows, heads, tokens, pixels). Their sum
        over all tokens is 1 for a pixel, or, in a joint layer, what pixels leave to the words.
    """
    with torch.autocast(seen.queries.device.type, enabled=False):
        attention = layer.attention
        queries = _split(layer, seen.queries[rows], attention.norm_q)
        if layer.joint:
            words = _split(layer, seen.keys[rows], attention.norm_added_k)
            pixels = _split(layer, seen.pixel_keys[rows], attention.norm_k)  # type: ignore[index]
            keys = torch.cat([words, pixels], dim=2)
        else:
            keys = _split(layer, seen.keys[rows], attention.norm_k)
        scores_per_head = keys.shape[0] * keys.shape[2] * queries.shape[2]
        chunk = CHUNK_ON_CPU if queries.device.type == "cpu" else CHUNK
        for heads in _chunks(layer.heads, max(1, chunk // scores_per_head)):
            # Vaswani et al. 2017, equation 1: A = softmax(Q K^T / √d), tokens before pixels here
            scores = (keys[:, heads] * attention.scale) @ queries[:, heads].transpose(2, 3)
            if seen.bias is not None:
                scores += seen.bias[rows].float().unsqueeze(-1)
            yield heads, scores.softmax(dim=2)[:, :, tokens]


def _split(layer: Layer, projected: Tensor, norm: nn.Module | None) -> Tensor:
    """From (batch, items, heads * width) to (batch, heads, items, width), in float32."""
    split = projected.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    return (split if norm is None else norm(split)).float()


def _chunks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


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
