"""A means that changes a UNet, on trial: it stays if the UNet's answer stays, else it is undone."""

import math
from collections import OrderedDict
from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor

# How far the UNet's answer may move, as a part of its own size. Half precision moves it by 0.004
# (measured on the zoo's model in bfloat16); a wrong kernel moves it by about 1.
LARGEST_ERROR = 0.02


class Trial:
    """Means on trial, one after another, each against the answer of the UNet as it came."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.before: Tensor | None = None

    def on_unet(self, use: Callable[[], None]) -> float:
        """Use a means, and undo it if the UNet's answer moves too far, or if there is none.

        Returns:
            As `moved`.
        """
        put_back = _remembered(self.pipe.unet)
        try:
            self._look_before()
            use()
            error = self.moved(self.pipe.unet)
        except BaseException:  # Ctrl-C in the minutes of compiling among them
            put_back()
            raise
        if not stays(error):
            put_back()
        return error

    def moved(self, unet: torch.nn.Module) -> float:
        """How far a UNet's answer is from the first one.

        Returns:
            The root mean square of the change, as a part of the answer's own; it may be NaN.
        """
        before = self._look_before()
        smallest = torch.finfo(before.dtype).tiny  # an untrained UNet may answer zero
        change = (_answer(self.pipe, unet) - before).norm()
        return float(change / before.norm().clamp(min=smallest))

    def _look_before(self) -> Tensor:
        if self.before is None:
            self.before = _answer(self.pipe, self.pipe.unet)
        return self.before


def try_on_unet(pipe: Any, use: Callable[[], None]) -> float:
    """One means on trial, see `Trial.on_unet`."""
    return Trial(pipe).on_unet(use)


def stays(error: float) -> bool:
    """Whether the answer moved little enough to keep the means."""
    return error <= LARGEST_ERROR  # NaN does not


def told(error: float) -> str:
    """How far the answer moved, in a sentence."""
    return "NaN" if math.isnan(error) else f"{error:.1%}"


def _remembered(network: torch.nn.Module) -> Callable[[], None]:
    """What puts a network back as it is now: its very weights, its hooks, what is compiled.

    The weights are not cast back, as that would leave them rounded.
    """
    kept = []
    for module in network.modules():
        own = dict(vars(module))
        # Parts, buffers and hooks: put back in place, as whoever registered a hook holds its dict.
        inner = [(held, copy(held)) for held in own.values() if type(held) in (dict, OrderedDict)]
        weights = [(weight, weight.data) for weight in module.parameters(recurse=False)]
        kept.append((module, own, inner, weights))

    def put_back() -> None:
        for module, own, inner, weights in kept:
            vars(module).clear()
            vars(module).update(own)
            for held, was in inner:
                held.clear()
                held.update(was)
            for weight, data in weights:
                weight.data = data

    return put_back


@torch.no_grad()
def _answer(pipe: Any, unet: Any) -> Tensor:
    """What a UNet says of some noise halfway, in float32 on the CPU."""
    dtype = pipe.text_encoder.dtype  # that of a pipeline's latents
    config, generator = unet.config, torch.Generator().manual_seed(0)
    side = config.sample_size
    noise = torch.randn((2, config.in_channels, side, side), generator=generator)
    text = torch.randn((2, 77, config.cross_attention_dim), generator=generator)
    # The upscaler's UNet is told a level of noise besides.
    labels = torch.zeros(2, dtype=torch.long) if config.num_class_embeds else None
    # Called as pipelines do, so that what is compiled here serves them too.
    (answer,) = unet(
        noise.to(unet.device, dtype),
        torch.tensor(500, device=unet.device),
        encoder_hidden_states=text.to(unet.device, dtype),
        class_labels=labels if labels is None else labels.to(unet.device),
        return_dict=False,
    )
    return answer.float().cpu()
