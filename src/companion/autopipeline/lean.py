"""Parts of a UNet that give the same answer sooner on a CPU, in PyTorch's public interfaces alone.

Each takes the place of a part of its own kind and has its very weights, so that a state dict, hooks
and LoRA find what they look for. What is kept from one call to the next is kept for as long as the
very same input comes, and not at all while gradients are recorded or torch compiles.
"""

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

PROMPT = "encoder_hidden_states"
# Products that stay in float32, by pieces of their names: where latents come in and noise goes out,
# and the way of the timestep. With them, in the last block, the convolutions of one pixel and the
# last of all, through which the noise goes. They cost little and hold most of the digits in the
# first steps, which decide what a picture becomes: of 32 pictures the worst came to 45 dB, not 40.
IN_FLOAT32 = ("conv_in", "conv_out", "time_emb", "class_embedding", "add_embedding")
# Measured on the zoo's UNet, on one thread: up to so many places oneDNN's convolution spends its
# time on the weights, and a product of gathered patches is faster; one of single pixels, for which
# nothing is gathered, up to more.
FEW_PLACES, FEW_PIXELS = 128, 1024
FEW_KEYS = 32  # up to here torch's fused attention is faster than two products in bfloat16
WIDTH = 32  # numbers of bfloat16 that AVX-512 holds; a softmax over a multiple takes half the time


class CastLinear(nn.Linear):
    """A product in the type of its weights, whatever comes in."""

    def forward(self, input: Tensor) -> Tensor:
        """The product, in that type too."""
        return super().forward(input.to(self.weight.dtype))


class KeptLinear(CastLinear):
    """A product that is computed once while the same input comes, as a prompt's embeddings do."""

    _kept: tuple[Tensor, Tensor] | None = None

    def forward(self, input: Tensor) -> Tensor:
        """The product, which nobody may change in place."""
        if not _may_keep():
            return super().forward(input)
        if self._kept is None or self._kept[0] is not input:
            self._kept = input, super().forward(input)
        return self._kept[1]


class CastConv2d(nn.Conv2d):
    """A convolution in the type of its weights."""

    def forward(self, input: Tensor) -> Tensor:
        """The answer, in the type of the input."""
        return super().forward(input.to(self.weight.dtype)).to(input.dtype)


class ProductConv2d(CastConv2d):
    """A convolution as one matrix product, where it looks at few places."""

    def forward(self, input: Tensor) -> Tensor:
        """A convolution's answer, its channels last."""
        tall, wide = self.kernel_size
        down, right = self.stride
        alone = (tall, wide, down, right) == (1, 1, 1, 1)
        if input[:, 0].numel() > (FEW_PIXELS if alone else FEW_PLACES * down * right):
            return super().forward(input)
        patches = input.to(self.weight.dtype).permute(0, 2, 3, 1)
        if not alone:
            above, left = (int(side) for side in self.padding)  # as `_is_plain` looked
            padded = F.pad(patches, (0, 0, left, left, above, above))
            patches = padded.unfold(1, tall, down).unfold(2, wide, right)
            patches = patches.permute(0, 1, 2, 4, 5, 3).flatten(3)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(patches, weight, self.bias).permute(0, 3, 1, 2).to(input.dtype)


class ProductAttnProcessor(AttnProcessor2_0):
    """Attention as two matrix products, which in bfloat16 are faster than torch's fused kernel."""

    _kept: tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor | None]] | None = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """As Diffusers' own processor, without dropout, which pipelines do not use."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if attention_mask is not None or context.shape[1] <= FEW_KEYS or not _is_alone(attn):
            return super().__call__(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb
            )
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        keys, values, mask = self._by_head(key, value, attn)
        query = _by_head(query, attn.heads)
        scores = torch.bmm(query, keys) if mask is None else torch.baddbmm(mask, query, keys)
        mixed = torch.bmm(scores.softmax(-1), values)
        mixed = mixed.unflatten(0, (-1, attn.heads)).transpose(1, 2).flatten(2)
        return attn.to_out[0](mixed)

    def _by_head(
        self, key: Tensor, value: Tensor, attn: Attention
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys, scaled and on their side, values, and what hides from softmax what both got added.

        Those of a prompt are kept for as long as `KeptLinear` gives the same.
        """
        if self._kept and self._kept[0] is key and self._kept[1] is value:
            return self._kept[2]
        keys, values = _by_head(key, attn.heads), _by_head(value, attn.heads)
        count, mask = keys.shape[1], None
        if more := -count % WIDTH:
            keys, values = (F.pad(made, (0, 0, 0, more)) for made in (keys, values))
            mask = keys.new_zeros(1, 1, count + more)
            mask[..., count:] = -torch.inf
        made = (keys * attn.scale).transpose(1, 2), values, mask
        if isinstance(attn.to_k, KeptLinear) and isinstance(attn.to_v, KeptLinear) and _may_keep():
            self._kept = key, value, made
        return made


# Diffusers asks for it in every layer and step: 18 microseconds, and 5 where it is at hand.
ProductAttnProcessor.__call__.__signature__ = inspect.signature(  # type: ignore[attr-defined]
    ProductAttnProcessor.__call__
)


class SamePrompt:
    """Gives a UNet the very same tensor in every step of a call, so that it can be known again.

    A tensor that somebody wrote into, or another one, as a new call of the pipeline has, is new.
    """

    _kept: tuple[Tensor, Tensor] | None = None

    def __call__(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Before the UNet is called."""
        given = kwargs.get(PROMPT)
        if given is None or not _may_keep():
            return args, kwargs
        if self._kept is None or self._kept[0] is not given or not given.equal(self._kept[1]):
            self._kept = given, given.clone()
        return args, kwargs | {PROMPT: self._kept[1]}


def products_in_bfloat16(unet: Any) -> bool:
    """Let convolutions and matrix products compute in bfloat16, and all between them in float32.

    What is added up from layer to layer, the norms and the noise keep their digits that way.
    """
    for kind, casting in ((nn.Linear, CastLinear), (nn.Conv2d, CastConv2d)):
        for parent, name in _parts(unet, kind):
            _replace(parent, name, casting)
    for name, part in unet.named_modules():
        if isinstance(part, CastLinear | CastConv2d) and not _holds_digits(name, part, unet):
            part.to(torch.bfloat16)
    return True


def _holds_digits(name: str, part: nn.Module, unet: Any) -> bool:
    block = f"up_blocks.{len(unet.up_blocks) - 1}."
    of_one_pixel = isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1)
    end = f"{block}resnets.{len(unet.up_blocks[-1].resnets) - 1}.conv2"
    return (
        name == end
        or (name.startswith(block) and of_one_pixel)
        or any(piece in name for piece in IN_FLOAT32)
    )


def computes_in_bfloat16(unet: nn.Module) -> bool:
    """Whether `products_in_bfloat16` was used."""
    return any(
        isinstance(part, CastLinear) and part.weight.dtype == torch.bfloat16
        for part in unet.modules()
    )


def channels_last(unet: nn.Module) -> bool:
    """Lay the weights as oneDNN's convolutions take them."""
    unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return True


def small_convolutions(unet: nn.Module) -> bool:
    """Let convolutions be products where those are faster."""
    places = [place for place in _parts(unet, CastConv2d) if _is_plain(getattr(*place))]
    for parent, name in places:
        _replace(parent, name, ProductConv2d)
    return bool(places)


def attention_as_products(unet: Any) -> bool:
    """Let attention be products, where it is Diffusers' own."""
    processors = dict(unet.attn_processors)
    plain = [name for name, processor in processors.items() if type(processor) is AttnProcessor2_0]
    if plain:
        unet.set_attn_processor(processors | {name: ProductAttnProcessor() for name in plain})
    return bool(plain)


def prompt_once(unet: nn.Module) -> bool:
    """Compute keys and values of the prompt once a call of the pipeline, and not in each step."""
    layers = [
        (attention, name)
        for attention in unet.modules()
        if isinstance(attention, Attention) and attention.is_cross_attention
        for name in ("to_k", "to_v")
        if type(getattr(attention, name)) in (nn.Linear, CastLinear)
    ]
    for attention, name in layers:
        _replace(attention, name, KeptLinear)
    if layers:
        unet.register_forward_pre_hook(SamePrompt(), with_kwargs=True)
    return bool(layers)


def _by_head(made: Tensor, heads: int) -> Tensor:
    """Pictures x places x numbers to pictures and heads x places x numbers of a head."""
    return made.unflatten(-1, (heads, -1)).transpose(1, 2).flatten(0, 1)


def _is_alone(attn: Attention) -> bool:
    """Whether it is Stable Diffusion's attention, with nothing besides."""
    besides = (attn.spatial_norm, attn.group_norm, attn.norm_q, attn.norm_k, attn.norm_cross)
    return not any(besides) and not attn.residual_connection and attn.rescale_output_factor == 1.0


def _is_plain(convolution: nn.Conv2d) -> bool:
    zeros = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    return zeros and convolution.groups == 1 and convolution.dilation == (1, 1)


def _may_keep() -> bool:
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling())


def _parts(network: nn.Module, kind: type[Any]) -> list[tuple[nn.Module, str]]:
    """What holds a part of just that kind, and its name there."""
    return [
        (parent, name)
        for parent in network.modules()
        for name, part in parent.named_children()
        if type(part) is kind
    ]


def _replace(parent: nn.Module, name: str, kind: type[Any]) -> Any:
    """Put one of another kind in the place of a part, with all that it had."""
    made: Any = kind.__new__(kind)  # type: ignore[call-overload]
    vars(made).update(vars(getattr(parent, name)))
    setattr(parent, name, made)
    return made
