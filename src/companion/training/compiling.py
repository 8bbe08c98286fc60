"""Compiled blocks, used only where a compiled step agrees with an eager one."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from companion.door.compiled import allow_shapes, limit_shapes, make_eager

# What a UNet2DModel consists of, again and again.
REPEATED = ("ResnetBlock2D", "Attention")
SHAPES = 128  # of one kind of part, at most
# Of two gradients that should be one, the norm of the difference as a part of the norm.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.05}


@contextmanager
def room_to_compile(unet: UNet2DModel) -> Iterator[None]:
    """Within, a model's parts may be compiled for as many shapes as they have; at the end they are
    eager, and torch's limit is as before."""
    before = allow_shapes(SHAPES)
    try:
        yield
    finally:
        limit_shapes(before)
        make_eager(_blocks(unet))


def compile_blocks(unet: UNet2DModel, batch_size: int, precision: torch.dtype) -> bool:
    """Compile a model's repeated parts one by one, unless that changes what a step computes.

    Parts of one shape share their code, so this takes a fraction of the time that compiling the
    whole model takes ("regional compilation" in torch's recipes).

    A compiled model can be a wrong one: with torch 2.13 on a CPU, up blocks of 8 channels that
    were compiled whole let no gradient through to the blocks before them; those of 64 channels did.
    So one step's gradients are compared first, and a model that does not agree, or cannot be
    compiled, stays eager, with a warning. Chapter 5, "Compile".

    Args:
        unet: on its device.
        batch_size: of training: another size is compiled anew.
        precision: what training computes in.

    Returns:
        Whether the parts are compiled now.
    """
    eager = _gradients(unet, batch_size, precision)
    for block in _blocks(unet):
        block.compile(dynamic=False)
    try:
        difference = _difference(eager, _gradients(unet, batch_size, precision))
        if difference <= TOLERANCE[precision]:
            return True
        why = f"the gradients of one step differ from the eager ones by {difference:.1%}"
    except Exception as error:  # no compiler, or a fault in it: of many kinds
        why = f"compiling it failed with {type(error).__name__}"
    make_eager(_blocks(unet))
    warnings.warn(
        f"The model stays eager: {why} ({precision} on {unet.device.type}).", stacklevel=2
    )
    return False


def _blocks(unet: UNet2DModel) -> list[nn.Module]:
    return [part for part in unet.modules() if type(part).__name__ in REPEATED]


def _gradients(unet: UNet2DModel, batch_size: int, precision: torch.dtype) -> list[Tensor]:
    """The gradients of one step on noise; the model's own are left as they were: none."""
    size = unet.config.sample_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, unet.config.in_channels, size, size, generator=generator)
    images = images.to(unet.device)
    t = torch.linspace(0, 999, batch_size, device=unet.device).long()
    parameters = [p for p in unet.parameters() if p.requires_grad]
    enabled = precision != torch.float32
    with torch.autocast(unet.device.type, precision if enabled else None, enabled=enabled):
        predicted = unet(images, t, return_dict=False)[0]
    return list(torch.autograd.grad((predicted.float() - images).square().mean(), parameters))


def _difference(first: list[Tensor], second: list[Tensor]) -> float:
    """Norm of the difference by the norm, of everything and of each large gradient: the worst."""
    norms = torch.stack([gradient.norm() for gradient in first])
    apart = torch.stack([(a - b).norm() for a, b in zip(first, second, strict=True)])
    large = norms > 0.05 * norms.norm()
    return float(torch.stack([apart.norm() / norms.norm(), *(apart / norms)[large]]).max())
