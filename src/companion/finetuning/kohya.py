"""LoRA files in kohya's names (sd-scripts), which most shared files for Stable Diffusion 1.x have.

There a layer is called by its module's name with lines for dots: `lora_unet_..._attn1_to_q`, and
has three tensors: `lora_down.weight` (A), `lora_up.weight` (B) and `alpha`.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from companion.door import Untrusted, is_file, printable

from .lowrank import LowRank, lora_layers
from .tensors import write_tensors

_PREFIXES = {"lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder"}
# What the text encoder's modules were called in when the format was made.
_OLD_ROOT = "text_model."
_PARTS = ("lora_down.weight", "lora_up.weight", "alpha")


def save_kohya(file: str | Path, unet: nn.Module, text_encoder: nn.Module | None = None) -> None:
    """Write the updates of low rank in kohya's names. Chapter 8, "What is in the file".

    Args:
        file: a safetensors file.
        unet: with the layers that `add_lora` made.
        text_encoder: the same, where it learned, too.

    Raises:
        ValueError: there are no such layers.
    """
    found: dict[str, Tensor] = {}
    for prefix, network in (("lora_unet_", unet), ("lora_te_", text_encoder)):
        for name, layer in lora_layers(network).items() if network is not None else ():
            key = prefix + _flat(name, prefix)
            found[f"{key}.lora_down.weight"] = layer.down
            found[f"{key}.lora_up.weight"] = layer.up
            found[f"{key}.alpha"] = torch.tensor(float(layer.alpha))
    if not found:
        raise ValueError("The networks have no updates of low rank: add_lora makes them.")
    first = next(iter(lora_layers(unet).values()), None)
    told = {}
    if first is not None:
        told |= {
            "ss_network_module": "networks.lora",
            "ss_network_dim": str(first.rank),
            "ss_network_alpha": str(float(first.alpha)),
        }
    write_tensors(Path(file), found, told)


def load_kohya(
    file: str | Path, unet: nn.Module, text_encoder: nn.Module | None = None
) -> dict[str, LowRank]:
    """Put the updates of a file in kohya's names beside the layers that they are for.

    Stock Diffusers reads such files too, by `pipe.load_lora_weights(file)`; here it is by hand.

    Args:
        file: a safetensors file.
        unet: changed in place; it has no updates yet, and all else of it is frozen.
        text_encoder: the same; without one, a file that has updates for it is refused.

    Returns:
        The new layers, as "unet.NAME" and "text_encoder.NAME".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or one for another model; nothing was changed.
    """
    what = f"The file {printable(str(file))}"
    networks = {"unet": unet, "text_encoder": text_encoder}
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in _read(Path(file), what).items():
        name, _, part = key.partition(".")
        if part not in _PARTS or not name.startswith(tuple(_PREFIXES)):
            raise Untrusted(f"{what} holds {printable(key[:120])}, which is none of kohya's LoRA.")
        layers.setdefault(name, {})[part] = tensor
    made: dict[str, LowRank] = {}
    for name, parts in layers.items():
        prefix = next(prefix for prefix in _PREFIXES if name.startswith(prefix))
        network = networks[_PREFIXES[prefix]]
        place = None
        if network is not None:
            modules = {prefix + _flat(key, prefix): key for key, _ in network.named_modules()}
            place = modules.get(name)
        linear = network.get_submodule(place) if network is not None and place else None
        if not isinstance(linear, nn.Linear):
            raise Untrusted(
                f"{what} has an update for {printable(name[:120])}, which is no linear layer of "
                "this model: it belongs to another one."
            )
        made[f"{_PREFIXES[prefix]}.{place}"] = _layer(what, name, linear, parts)
    if not made:
        raise Untrusted(f"{what} holds no LoRA.")
    for place, layer in made.items():
        kind, _, inner = place.partition(".")
        network = networks[kind]
        assert network is not None
        network.requires_grad_(False)
        network.set_submodule(inner, layer)
    for layer in made.values():
        layer.down.requires_grad_(True)
        layer.up.requires_grad_(True)
    return made


def _layer(what: str, name: str, linear: nn.Linear, parts: dict[str, Tensor]) -> LowRank:
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
            f"{what} has an update for {printable(name[:120])} that does not fit that layer's "
            f"{linear.in_features} inputs and {linear.out_features} outputs."
        )
    rank = len(down)
    alpha = float(parts["alpha"]) if "alpha" in parts else float(rank)  # absent: the scale is 1
    try:
        layer = LowRank(linear, rank, alpha)
    except ValueError as error:
        raise Untrusted(f"{what}, {printable(name[:120])}: {error}") from error
    with torch.no_grad():
        layer.down.copy_(down)
        layer.up.copy_(up)
    return layer


def _flat(name: str, prefix: str) -> str:
    """A module's name in the file."""
    old = name if prefix == "lora_unet_" or name.startswith(_OLD_ROOT) else _OLD_ROOT + name
    return old.replace(".", "_")


def _read(file: Path, what: str) -> dict[str, Tensor]:
    if not is_file(file):
        raise FileNotFoundError(f"There is no file {printable(str(file))}.")
    try:
        with safe_open(file, "pt") as opened:
            return {key: opened.get_tensor(key).clone() for key in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise Untrusted(f"{what} is no safetensors file: take a copy of it that is.") from error
