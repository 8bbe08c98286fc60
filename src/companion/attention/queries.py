"""The queries and keys of a layer, by whose they are, made of what its projections gave.

A layer's own norms and the library's own function for rotary positions make them, so that they are
those that the layer computes with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor

from .calls import View

Parts = dict[str, Tensor]


@dataclass(frozen=True)
class Seen:
    """What the rows of one layer's call look with and at.

    Attributes:
        queries: of the "text" and of the "picture", each (rows, heads, items, width), float32.
        keys: likewise, and of "others": a picture to draw after, padding.
        bias: added to the scores of those keys, each (rows, 1, items), where the model masks some.
        scale: of the scores.
    """

    queries: Parts
    keys: Parts
    bias: Parts | None
    scale: float


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        attention: the module.
        made: what its projections gave for the whole batch, by their names.
        arguments: what it was called with, by name.
        view: the denoiser's call.
        rows: those of the batch to look at.
    """

    attention: Any
    made: Mapping[str, Tensor]
    arguments: Mapping[str, Any]
    view: View
    rows: slice


@dataclass(frozen=True)
class Kind:
    """A kind of layer: the projections to keep, and what is read from them."""

    projections: tuple[str, ...]
    read: Callable[[Call], Seen]


def _cross(call: Call) -> Seen:
    """A UNet's: places look at words alone."""
    attention = call.attention
    mask = call.arguments.get("attention_mask")
    return Seen(
        {"picture": _split(call, call.made["to_q"], attention.norm_q)},
        {"text": _split(call, call.made["to_k"], attention.norm_k)},
        None if mask is None else {"text": mask[call.rows].float()},
        attention.scale,
    )


def _within(call: Call) -> Seen:
    """A UNet's: places look at places."""
    attention = call.attention
    return Seen(
        {"picture": _split(call, call.made["to_q"], attention.norm_q)},
        {"picture": _split(call, call.made["to_k"], attention.norm_k)},
        None,
        attention.scale,
    )


def _double(call: Call) -> Seen:
    """Words and places have projections of their own, and look at all of both (SD3, section 4)."""
    attention, made = call.attention, call.made
    of_text, of_picture = _turns(call, made["add_q_proj"].shape[1])
    text = (
        _split(call, made["add_q_proj"], attention.norm_added_q, of_text),
        _split(call, made["add_k_proj"], attention.norm_added_k, of_text),
    )
    picture = (
        _split(call, made["to_q"], attention.norm_q, of_picture),
        _split(call, made["to_k"], attention.norm_k, of_picture),
    )
    places = call.view.places or picture[0].shape[2]
    queries, keys = (
        {"text": words, "picture": items[:, :, :places], "others": items[:, :, places:]}
        for words, items in zip(text, picture, strict=True)
    )
    mask = call.arguments.get("encoder_hidden_states_mask")
    bias = None
    if mask is not None:
        bias = {"text": _as_bias(mask[call.rows])[:, None]}
    return Seen(queries, keys, bias, _scale(queries))


def _joined(call: Call) -> Seen:
    """Words and places stand in one sequence, with one projection for all (FLUX, Z-Image)."""
    return _of_sequence(call, call.made["to_q"][call.rows], call.made["to_k"][call.rows])


def _fused(call: Call) -> Seen:
    """Likewise, and what makes queries, keys and values makes the feed-forward's input too."""
    inner = call.attention.inner_dim
    both = call.made["to_qkv_mlp_proj"][call.rows]
    return _of_sequence(call, both[..., :inner], both[..., inner : 2 * inner])


CROSS = Kind(("to_q", "to_k"), _cross)
WITHIN = Kind(("to_q", "to_k"), _within)
DOUBLE = Kind(("to_q", "to_k", "add_q_proj", "add_k_proj"), _double)
JOINED = Kind(("to_q", "to_k"), _joined)
FUSED = Kind(("to_qkv_mlp_proj",), _fused)


def _of_sequence(call: Call, to_q: Tensor, to_k: Tensor) -> Seen:
    attention, view = call.attention, call.view
    turns = call.arguments.get("image_rotary_emb")  # FLUX's, the same for all rows
    if "freqs_cis" in call.arguments:  # Z-Image's
        turns = call.arguments["freqs_cis"][call.rows]
    queries, keys = (
        _parts(_heads(projected, attention.heads, norm, turns), view, 2)
        for projected, norm in ((to_q, attention.norm_q), (to_k, attention.norm_k))
    )
    mask, bias = call.arguments.get("attention_mask"), None
    if mask is not None:
        bias = {
            name: part[:, None] for name, part in _parts(_as_bias(mask[call.rows]), view, 1).items()
        }
    return Seen(queries, keys, bias, _scale(queries))


def _parts(items: Tensor, view: View, dim: int) -> Parts:
    """A sequence's text, its picture, and what is neither."""
    assert view.tokens is not None  # the views of such denoisers say both
    assert view.places is not None
    neither = torch.ones(items.shape[dim], dtype=torch.bool)
    neither[view.text_at : view.text_at + view.tokens] = False
    neither[view.picture_at : view.picture_at + view.places] = False
    return {
        "text": items.narrow(dim, view.text_at, view.tokens),
        "picture": items.narrow(dim, view.picture_at, view.places),
        "others": items.index_select(dim, neither.nonzero()[:, 0].to(items.device)),
    }


def _turns(call: Call, tokens: int) -> tuple[Any, Any]:
    """The rotary positions of the words and of the places, or None for both."""
    turns = call.arguments.get("image_rotary_emb")
    if turns is None:
        return None, None
    first, second = turns
    if first.is_complex():  # Qwen-Image's: of the places, of the words
        return second[None], first[None]
    return (first[:tokens], second[:tokens]), (first[tokens:], second[tokens:])


def _split(call: Call, projected: Tensor, norm: Any, turns: Any = None) -> Tensor:
    return _heads(projected[call.rows], call.attention.heads, norm, turns)


def _heads(projected: Tensor, heads: int, norm: Any, turns: Any) -> Tensor:
    """From (rows, items, heads * width) to (rows, heads, items, width), in float32."""
    split = projected.unflatten(-1, (heads, -1))
    if norm is not None:
        split = norm(split)
    if isinstance(turns, tuple):  # cosines and sines
        split = apply_rotary_emb(split, turns, sequence_dim=1)
    elif turns is not None:  # complex numbers of length 1
        split = apply_rotary_emb(split, turns, use_real=False)
    return split.transpose(1, 2).float()


def _scale(queries: Parts) -> float:
    width: int = queries["picture"].shape[-1]
    return width**-0.5


def _as_bias(mask: Tensor) -> Tensor:
    """0 where a mask is true, and minus infinity where it is not."""
    bias = torch.zeros(mask.shape, device=mask.device)
    return bias.masked_fill_(~mask.bool(), float("-inf"))
