"""LoRA files in kohya's names (sd-scripts), which most shared files for Stable Diffusion 1.x have.

There a layer is called by its module's name with lines for dots: `lora_unet_..._attn1_to_q`, and
has three tensors: `lora_down.weight` (A), `lora_up.weight` (B) and `alpha`.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from companion.door import Untrusted, printable

from .lowrank import LowRank, fitting, lora_layers, require_finite, require_plain, shown_name
from .saving import new_file, read_tensors
from .tensors import write_tensors

_PREFIXES = {"lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder"}
# What the text encoder's modules were called in when the format was made.
_OLD_ROOT = "text_model."
_PARTS = ("lora_down.weight", "lora_up.weight", "alpha")


def save_kohya(file: str | Path, unet: nn.Module, text_encoder: nn.Module | None = None) -> None:
    """Write the updates of low rank in kohya's names. Chapter 8, "What is in the file".

    Each layer has its own rank and alpha there. Stock Diffusers (0.42) gives all layers of a
    network the commonest alpha; where they differ, `save_lora` writes what it draws the same.

    Args:
        file: a safetensors file.
        unet: with the layers that `add_lora` made.
        text_encoder: the same, where it learned, too.

    Raises:
        ValueError: there are no such layers, or the file cannot be there.
    """
    place = new_file(file)
    found: dict[str, Tensor] = {}
    ranks: set[int] = set()
    alphas: set[float] = set()
    for prefix, network in (("lora_unet_", unet), ("lora_te_", text_encoder)):
        for name, layer in lora_layers(network).items() if network is not None else ():
            key = prefix + _flat(name, prefix)
            found[f"{key}.lora_down.weight"] = layer.down
            found[f"{key}.lora_up.weight"] = layer.up
            found[f"{key}.alpha"] = torch.tensor(float(layer.alpha))
            ranks.add(layer.rank)
            alphas.add(float(layer.alpha))
    if not found:
        raise ValueError("The networks have no updates of low rank: add_lora makes them.")
    # Where layers differ, kohya's scripts write this word, too.
    of_all = {"ss_network_dim": "Dynamic", "ss_network_alpha": "Dynamic"}
    if len(ranks) == 1:
        of_all["ss_network_dim"] = str(*ranks)
    if len(alphas) == 1:
        of_all["ss_network_alpha"] = str(*alphas)
    write_tensors(place, found, {"ss_network_module": "networks.lora", **of_all})


def load_kohya(
    file: str | Path, unet: nn.Module, text_encoder: nn.Module | None = None
) -> dict[str, LowRank]:
    """Put the updates of a file in kohya's names beside the layers that they are for.

    Stock Diffusers reads such files too, by `pipe.load_lora_weights(file)`; here it is by hand.
    Where layers of a network differ in alpha, each has its own here, as in kohya's scripts; there
    (0.42) all have the commonest.

    Args:
        file: a safetensors file.
        unet: changed in place; it has no updates yet, and all else of it is frozen.
        text_encoder: the same; without one, a file that has updates for it is refused.

    Returns:
        The new layers, as "unet.NAME" and "text_encoder.NAME".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, one for another model, or a network has updates already;
            nothing was changed.
    """
    what = f"The file {printable(str(file))}"
    networks = {"unet": unet}
    if text_encoder is not None:
        networks["text_encoder"] = text_encoder
    for network in networks.values():
        require_plain(network)
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in read_tensors(Path(file))[0].items():
        name, _, part = key.partition(".")
        if part not in _PARTS or not name.startswith(tuple(_PREFIXES)):
            raise Untrusted(f"{what} holds {shown_name(key)}, which is none of kohya's LoRA.")
        if part != "alpha":
            require_finite(what, key, tensor)
        layers.setdefault(name, {})[part] = tensor
    if not layers:
        raise Untrusted(f"{what} holds no LoRA.")
    places = {
        prefix + _flat(key, prefix): (kind, key)
        for prefix, kind in _PREFIXES.items()
        if kind in networks
        for key, _ in networks[kind].named_modules()
    }
    found: dict[tuple[str, str], tuple[nn.Linear, _Update]] = {}
    for name, parts in layers.items():
        kind = next(kind for prefix, kind in _PREFIXES.items() if name.startswith(prefix))
        told = f"{what} has an update for {shown_name(name)}"
        if kind not in networks:
            raise Untrusted(f"{told}, a layer of the text encoder: give text_encoder, too.")
        place = places.get(name)
        linear = networks[kind].get_submodule(place[1]) if place else None
        if isinstance(linear, nn.Conv2d):
            raise Untrusted(
                f"{told}, a convolution, but only linear layers are taken here: load the file by "
                "pipe.load_lora_weights."
            )
        if place is None or not isinstance(linear, nn.Linear):
            raise Untrusted(
                f"{told}, which is no linear layer of this model: it belongs to another one."
            )
        if place in found:
            raise Untrusted(f"{told} twice, under two names: take another copy of it.")
        found[place] = linear, _update(what, name, linear, parts)
    for kind in {kind for kind, _ in found}:
        networks[kind].requires_grad_(False)
    made: dict[str, LowRank] = {}
    for (kind, inner), (linear, update) in found.items():
        layer = made[f"{kind}.{inner}"] = LowRank(linear, len(update.down), update.alpha)
        with torch.no_grad():
            layer.down.copy_(update.down)
            layer.up.copy_(update.up)
        networks[kind].set_submodule(inner, layer)
    return made


class _Update(NamedTuple):
    """A layer's update as the file has it."""

    down: Tensor
    up: Tensor
    alpha: float


def _update(what: str, name: str, linear: nn.Linear, parts: dict[str, Tensor]) -> _Update:
    down, up = parts.get("lora_down.weight"), parts.get("lora_up.weight")
    fits = (
        down is not None
        and up is not None
        and down.ndim == up.ndim == 2
        and down.shape[0] == up.shape[1]
        and (up.shape[0], down.shape[1]) == (linear.out_features, linear.in_features)
        and parts.get("alpha", torch.tensor(1.0)).numel() == 1
    )
    if not fits or down is None or up is None:
        raise Untrusted(
            f"{what} has an update for {shown_name(name)} that does not fit that layer's "
            f"{linear.in_features} inputs and {linear.out_features} outputs."
        )
    alpha = parts["alpha"].item() if "alpha" in parts else len(down)  # absent: the scale is 1
    try:
        _, alpha = fitting(linear, len(down), alpha)
    except ValueError as error:
        raise Untrusted(f"{what}, {shown_name(name)}: {error}") from error
    return _Update(down, up, alpha)


def _flat(name: str, prefix: str) -> str:
    """A module's name in the file."""
    old = name if prefix == "lora_unet_" or name.startswith(_OLD_ROOT) else _OLD_ROOT + name
    return old.replace(".", "_")
