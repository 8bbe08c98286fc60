"""LoRA by hand: beside a frozen layer two thin matrices, which alone are trained.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1.
"""

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from companion.door import printable
from companion.door.numbers import number, shown, whole

# The attention projections, by what their modules end in: of a UNet of Diffusers, of a CLIP text
# encoder of transformers.
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
OF_THE_WORDS = ("q_proj", "k_proj", "v_proj", "out_proj")
LAYERS = {"all": ("attn1", "attn2"), "cross": ("attn2",), "self": ("attn1",)}


class LowRank(nn.Module):
    """A linear layer W, frozen, with an update of low rank: W x + (alpha / rank) B A x.

    B begins as zeros, so at first the layer is what it was. Chapter 8, "One layer by hand".

    Args:
        linear: the layer; its weights are shared, not copied, and frozen.
        rank: rows of A, columns of B.
        alpha: by what, divided by the rank, the update is scaled.

    Attributes:
        linear: the layer.
        down: A, (rank, in features).
        up: B, (out features, rank).
        scale: alpha / rank.

    Raises:
        ValueError: the layer has no update of that rank, or alpha is no number above 0.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        rank, alpha = fitting(linear, rank, alpha)
        self.linear = linear.requires_grad_(False)
        self.rank, self.alpha, self.scale = rank, alpha, alpha / rank
        weight = linear.weight  # of whose type and on whose device the matrices are
        self.down = nn.Parameter(weight.new_empty(rank, linear.in_features))
        self.up = nn.Parameter(weight.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as torch begins a linear layer

    @property
    def update(self) -> Tensor:
        """What is added to W: (alpha / rank) B A, (out features, in features)."""
        return self.scale * self.up @ self.down

    def forward(self, x: Tensor) -> Tensor:
        """(..., in features) to (..., out features)."""
        return self.linear(x) + self.scale * ((x @ self.down.T) @ self.up.T)

    def merged(self) -> nn.Linear:
        """One plain layer of the weights W + (alpha / rank) B A."""
        linear = self.linear
        plain = nn.Linear(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            dtype=linear.weight.dtype,
            device=linear.weight.device,
        )
        with torch.no_grad():
            plain.weight.copy_(linear.weight + self.update)
            if linear.bias is not None:
                plain.bias.copy_(linear.bias)
        return plain


def fitting(linear: nn.Linear, rank: Any, alpha: Any) -> tuple[int, float]:
    """Rank and alpha of an update that the layer can have, as Python's own numbers.

    Raises:
        ValueError: it can have none like that.
    """
    rank, alpha = whole("The rank", rank), number("alpha", alpha)
    most = min(linear.in_features, linear.out_features)
    if not 1 <= rank <= most:
        raise ValueError(
            f"The rank is {shown(rank)}, but of a layer of {linear.in_features} inputs and "
            f"{linear.out_features} outputs an update has a rank of 1 to {most}."
        )
    if alpha <= 0:
        raise ValueError(f"alpha is {shown(alpha)}, but it is above 0: the rank is a good choice.")
    return rank, alpha


def add_lora(
    network: nn.Module, rank: int = 8, alpha: float = 8.0, *, layers: str = "all", seed: int = 0
) -> dict[str, LowRank]:
    """Put an update of low rank beside every attention projection of a network; freeze all else.

    Chapter 8, "On all attention".

    Args:
        network: a UNet of Diffusers, or a CLIP text encoder; changed in place.
        rank: of each update.
        alpha: of each update.
        layers: of a UNet "all" attention, "cross" for that to the words alone (`attn2`), "self" for
            that of the picture to itself (`attn1`).
        seed: of A.

    Returns:
        The new layers, by the names that the old ones had.

    Raises:
        ValueError: there is no such projection in the network, it has updates already, or can have
            none of that rank and alpha; then nothing was changed.
    """
    require_plain(network)
    linears = {
        name: cast(nn.Linear, network.get_submodule(name)) for name in projections(network, layers)
    }
    for linear in linears.values():
        fitting(linear, rank, alpha)
    network.requires_grad_(False)
    added = {}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for name, linear in linears.items():
            added[name] = LowRank(linear, rank, alpha)
            network.set_submodule(name, added[name])
    return added


def require_plain(network: nn.Module) -> None:
    """Refuse a network that has updates: those of another would be put beside them.

    Raises:
        ValueError: it has.
    """
    if lora_layers(network):
        raise ValueError(
            "The network has updates of low rank already: merge_lora or drop_lora takes them away."
        )


def projections(network: nn.Module, layers: str = "all") -> list[str]:
    """Names of the attention projections of a network, in its own order; see `add_lora`.

    Raises:
        ValueError: there is none.
    """
    if layers not in LAYERS:
        known = ", ".join(LAYERS)
        raise ValueError(f"There are no layers {layers!r}; choose one of: {known}.")
    found = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
        and (
            (
                any(f".{part}." in f".{name}" for part in LAYERS[layers])
                and name.endswith(PROJECTIONS)
            )
            or name.endswith(OF_THE_WORDS)
        )
    ]
    if not found:
        raise ValueError(
            f"A {type(network).__name__} has no attention projection that is a linear layer: give "
            "a UNet of Stable Diffusion, or its text encoder."
        )
    return found


def lora_layers(network: nn.Module) -> dict[str, LowRank]:
    """The layers that `add_lora` put into a network, by name."""
    return {name: part for name, part in network.named_modules() if isinstance(part, LowRank)}


def merge_lora(network: nn.Module) -> None:
    """Add every update to its layer's weights: the network is plain again, and no slower than
    before. Chapter 8, "Merge, unload, scale"."""
    for name, layer in lora_layers(network).items():
        network.set_submodule(name, layer.merged())


def drop_lora(network: nn.Module) -> None:
    """Take every update away: the network is what it was before `add_lora`, bit for bit."""
    for name, layer in lora_layers(network).items():
        network.set_submodule(name, layer.linear)


def scale_lora(network: nn.Module, scale: float) -> None:
    """Let every update count so much: 1 as trained, 0 not at all, below 0 the other way.

    Raises:
        ValueError: it is no finite number.
    """
    scale = number("The scale", scale)
    for layer in lora_layers(network).values():
        layer.scale = scale * layer.alpha / layer.rank


def lora_weights(network: nn.Module) -> dict[str, Tensor]:
    """A and B of every layer, as "NAME.lora_A.weight" and "NAME.lora_B.weight": peft's names."""
    found: dict[str, Tensor] = {}
    for name, layer in lora_layers(network).items():
        found[f"{name}.lora_A.weight"] = layer.down.detach()
        found[f"{name}.lora_B.weight"] = layer.up.detach()
    return found


def put_lora_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put what `lora_weights` gave into the layers that `add_lora` made.

    Raises:
        ValueError: they are of other layers or of another rank, or no finite numbers; then none
            was put.
    """
    own = lora_weights(network)
    odd = sorted(set(own) ^ set(weights))
    if odd:
        raise ValueError(
            f"The weights do not fit the network: {shown_name(odd[0])} is in one of the two only."
        )
    for name, tensor in own.items():
        require_finite("The weights", name, weights[name])
        if tensor.shape != weights[name].shape:
            raise ValueError(
                f"The weights do not fit the network: {name} has the shape "
                f"{tuple(weights[name].shape)}, but {tuple(tensor.shape)} is needed."
            )
    for name, tensor in own.items():
        tensor.copy_(weights[name])


def require_finite(what: str, name: str, tensor: Any) -> None:
    """Refuse weights that are no finite real numbers: NaN in one layer makes all that is drawn NaN.

    Args:
        what: how the sentence calls where they are.
        name: of the weights.
        tensor: they.

    Raises:
        ValueError: they are none.
    """
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise ValueError(
            f"{what} cannot be taken: {shown_name(name)} is no tensor of floating-point numbers."
        )
    if not tensor.float().isfinite().all():
        raise ValueError(f"{what} cannot be taken: {shown_name(name)} holds NaN or infinity.")


def shown_name(name: Any) -> str:
    """A tensor's name, which a file may choose freely, in a sentence."""
    return printable(str(name)[:120])
