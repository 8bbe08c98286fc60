"""Make a pipeline faster or smaller, as its device allows, and say what was done and why.

What helps on one device hurts on another, so nothing is done everywhere. What changes numbers is
on trial before it stays, with one call of the UNet.
"""

from collections.abc import Callable, Collection
from typing import Any

import torch

from companion.door.compiled import allow_shapes, compile_as_graph, compile_whole
from companion.door.numbers import shown

from .deciding import Decision, Machine, Report, done, this_machine
from .exported import RUNTIMES, ExportedUNet
from .on_cpu import HALF, cast, decide_on_cpu, precision
from .trial import stays, told, try_on_unet

GIB = 2**30
# Rules of thumb, not measured: what is left beside the weights for the pictures themselves.
ROOM_FOR_A_BATCH = 4 * GIB
ROOM_FOR_A_PICTURE = 2 * GIB
SHAPES = 128  # of one kind of block, that may be compiled


def optimise(
    pipe: Any,
    machine: Machine | None = None,
    *,
    extras: Collection[str] | None = None,
    compile_on_cpu: bool = False,
    compile_whole: bool = False,
) -> Report:
    """Make a pipeline as fast as its device allows with the pictures the same.

    Chapter 4, "Faster".

    On a GPU: half precision, channels_last, a compiled UNet, and where memory is short, parts that
    wait in the machine's memory. On a CPU: the UNet in OpenVINO or ONNX Runtime, where one of them
    is installed; else in PyTorch, with nothing computed twice. Either in bfloat16 where the CPU
    computes in it.

    The pipeline itself is changed, and with it all that share its networks. But a UNet in OpenVINO
    or ONNX Runtime is another one: pipelines that are made of this one later have it too. It draws
    as before, also from pictures, in other sizes and numbers. Nobody can look into it: attention
    maps, LoRA and ControlNet take a UNet in PyTorch.

    Args:
        pipe: of Stable Diffusion, on its device.
        machine: by default the one that the pipeline lies on.
        extras: which of "openvino" and "onnxruntime" may compute the UNet on a CPU; () for PyTorch
            alone. By default those that are installed: `pip install 'diffusers-notes[openvino]'`.
        compile_on_cpu: compile the whole UNet on a CPU too. It takes a minute or two, and again for
            each new number of pictures, so it pays for some hundred pictures of one size.
        compile_whole: on a GPU, compile the whole UNet in place of its blocks, and let the GPU play
            its kernels as one graph (torch's "reduce-overhead"): a fast GPU waits for nobody then.
            It takes a minute or so, and again for each new number of pictures.

    Returns:
        What was done, and what was not, with the reason.

    Raises:
        ValueError: the pipeline has no UNet, machine is none, or an extra is unknown.
    """
    if not isinstance(getattr(pipe, "unet", None), torch.nn.Module):
        raise ValueError(
            f"{type(pipe).__name__} has no UNet, but optimise takes pipelines of Stable Diffusion."
        )
    machine = this_machine(pipe.device) if machine is None else machine
    if not isinstance(machine, Machine):
        raise ValueError("machine is what this_machine gives: leave it out for the pipeline's own.")
    _check_extras(extras)
    if machine.device == "cuda":
        return Report(tuple(_on_gpu(pipe, machine, compile_whole)))
    decisions = decide_on_cpu(pipe, machine, extras)
    own = any(one.done and one.name == "attention products" for one in decisions)
    if not own and not isinstance(pipe.unet, ExportedUNet):
        decisions.append(_attention(pipe))
    reason = "saves GPU memory, costs time; here is no GPU"
    names = ("VAE slices", "VAE tiles", "CPU offload")
    decisions += [Decision(name, False, reason) for name in names]
    if isinstance(pipe.unet, ExportedUNet):
        decisions.append(Decision("compile", False, "the UNet is not PyTorch's any more"))
    elif compile_on_cpu:
        decisions.append(_compile_whole(pipe))
    else:
        reason = "takes minutes on a CPU; compile_on_cpu=True for hundreds of pictures"
        decisions.append(Decision("compile", False, reason))
    return Report(tuple(decisions))


def _check_extras(extras: Any) -> None:
    if extras is None:
        return
    known = " and ".join(f'"{name}"' for name in RUNTIMES)
    if isinstance(extras, str) or not isinstance(extras, Collection):
        raise ValueError(f"extras is a list of {known}, or of one of them, but is {shown(extras)}.")
    for name in extras:
        if name not in RUNTIMES:
            raise ValueError(f"There is no extra {shown(name)}: there are {known}.")


def _on_gpu(pipe: Any, machine: Machine, whole: bool) -> list[Decision]:
    decisions = [_precision_on_gpu(pipe), _channels_last(pipe), _attention(pipe)]
    decisions += _memory(pipe, machine)
    return [*decisions, _compile_on_gpu(pipe, done("CPU offload", decisions), whole)]


def _precision_on_gpu(pipe: Any) -> Decision:
    if pipe.unet.dtype in HALF:
        return Decision(
            "half precision", True, f"the weights are in {precision(pipe.unet)} already"
        )
    was = precision(pipe.unet)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            cast(part, torch.float16)
    return Decision(
        "half precision",
        True,
        f"from {was} to float16: half the memory, and the GPU's fast units compute in it",
    )


def _channels_last(pipe: Any) -> Decision:
    for network in (pipe.unet, pipe.vae):
        network.to(memory_format=torch.channels_last)
    reason = "the GPU's convolutions in half precision want the channels last"
    return Decision("channels_last", True, reason)


def _attention(pipe: Any) -> Decision:
    name = "fused attention"
    kinds = {type(processor).__name__ for processor in pipe.unet.attn_processors.values()}
    if kinds <= {"AttnProcessor2_0", "FusedAttnProcessor2_0"}:
        reason = "scaled_dot_product_attention is Diffusers' own choice: nothing to do"
        return Decision(name, True, reason)
    return Decision(name, False, f"the UNet has attention of its own, {', '.join(sorted(kinds))}")


def _memory(pipe: Any, machine: Machine) -> list[Decision]:
    """Slices, tiles and offload, each only where memory is short, as each costs time."""
    weights = sum(
        weight.numel() * weight.element_size()
        for network in pipe.components.values()
        if isinstance(network, torch.nn.Module)
        for weight in network.parameters()
        if weight.device.type != "cuda"  # what is there already is not free memory any more
    )
    left = machine.free_memory - weights
    has = f"{max(left, 0) / GIB:.1f} GiB are left beside the weights"
    offload = left < ROOM_FOR_A_PICTURE
    if offload:
        pipe.enable_model_cpu_offload()
        left = machine.free_memory  # only one part at a time lies there
    slices, tiles = left < ROOM_FOR_A_BATCH, left < ROOM_FOR_A_PICTURE
    if slices:
        pipe.vae.enable_slicing()
    if tiles:
        pipe.vae.enable_tiling()
    return [
        Decision("VAE slices", slices, f"{has}: {'one picture' if slices else 'all'} at a time"),
        Decision("VAE tiles", tiles, f"{has}: {'pieces of pictures' if tiles else 'whole ones'}"),
        Decision("CPU offload", offload, f"{has}: parts {'wait outside' if offload else 'stay'}"),
    ]


def _compile_on_gpu(pipe: Any, offloaded: bool, whole: bool) -> Decision:
    """Compile the UNet's transformer blocks, which are large and alike, or all of it."""
    if offloaded:
        reason = "parts that come and go would be compiled again and again"
        return Decision("compile", False, reason)
    if whole:
        return _compile(
            pipe,
            lambda: compile_as_graph(pipe.unet),
            "the whole UNet, compiled, its kernels one graph",
        )
    # A UNet has blocks of several widths, each is compiled anew for one picture, for two, for more,
    # and for another size: beyond torch's own limit a fourth number of pictures would be an error.
    allow_shapes(SHAPES)
    return _compile(
        pipe,
        pipe.unet.compile_repeated_blocks,
        "the UNet's repeated blocks, compiled once for all",
    )


def _compile_whole(pipe: Any) -> Decision:
    """Compile the whole UNet, for each number of pictures anew."""
    return _compile(pipe, lambda: compile_whole(pipe.unet), "the whole UNet, compiled")


def _compile(pipe: Any, use: Callable[[], None], what: str) -> Decision:
    """Compile, and keep that only if the answers agree."""
    try:
        error = try_on_unet(pipe, use)
    except Exception as failure:  # a missing compiler has many names
        return Decision("compile", False, f"compiling failed here ({type(failure).__name__})")
    if not stays(error):
        return Decision("compile", False, f"the compiled UNet's answer is off by {told(error)}")
    return Decision("compile", True, f"{what} (its answer moved by {told(error)})")
