"""Make a pipeline faster or smaller, as its device allows, and say what was done and why.

What helps on one device hurts on another, so nothing is done everywhere. What changes numbers is
on trial before it stays, with one call of the UNet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from companion.door.compiled import allow_shapes, compile_as_graph, compile_whole

from .trial import stays, told, try_on_unet

HALF = (torch.float16, torch.bfloat16)
GIB = 2**30
# Rules of thumb, not measured: what is left beside the weights for the pictures themselves.
ROOM_FOR_A_BATCH = 4 * GIB
ROOM_FOR_A_PICTURE = 2 * GIB
SHAPES = 128  # of one kind of block, that may be compiled


@dataclass(frozen=True)
class Decision:
    """One means: its name, whether it was used, and why."""

    name: str
    done: bool
    reason: str


@dataclass(frozen=True)
class Report:
    """What `optimise` decided; printed, a line for each means."""

    decisions: tuple[Decision, ...]

    def done(self, name: str) -> bool:
        """Whether the means of that name was used."""
        return next(decision.done for decision in self.decisions if decision.name == name)

    def __str__(self) -> str:
        width = max(len(decision.name) for decision in self.decisions)
        return "\n".join(
            f"{'yes' if decision.done else 'no ':3}  {decision.name:{width}}  {decision.reason}"
            for decision in self.decisions
        )


@dataclass(frozen=True)
class Machine:
    """What the decisions depend on.

    Attributes:
        device: "cuda", "mps" or "cpu".
        fast_bfloat16: whether a CPU computes in bfloat16 rather than imitating it.
        free_memory: bytes of GPU memory that are free, 0 without a GPU.
    """

    device: str
    fast_bfloat16: bool = False
    free_memory: int = 0


def this_machine(device: torch.device) -> Machine:
    """Look at the device that a pipeline lies on."""
    if device.type == "cuda":
        return Machine("cuda", free_memory=torch.cuda.mem_get_info(device)[0])
    return Machine(device.type, fast_bfloat16=_fast_bfloat16())


def optimise(
    pipe: Any,
    machine: Machine | None = None,
    *,
    compile_on_cpu: bool = False,
    compile_whole: bool = False,
) -> Report:
    """Make a pipeline as fast as its device allows with the pictures the same.

    Chapter 4, "Faster".

    On a GPU: half precision, channels_last, a compiled UNet, and where memory is short, parts that
    wait in the machine's memory. On a CPU that computes in bfloat16: the UNet in it. The pipeline
    itself is changed, and with it all that share its networks.

    Args:
        pipe: of Stable Diffusion, on its device.
        machine: by default the one that the pipeline lies on.
        compile_on_cpu: compile the whole UNet on a CPU too. It takes a minute or two, and again for
            each new number of pictures, so it pays for some hundred pictures of one size.
        compile_whole: on a GPU, compile the whole UNet in place of its blocks, and let the GPU play
            its kernels as one graph (torch's "reduce-overhead"): a fast GPU waits for nobody then.
            It takes a minute or so, and again for each new number of pictures.

    Returns:
        What was done, and what was not, with the reason.

    Raises:
        ValueError: the pipeline has no UNet, or machine is none.
    """
    if not isinstance(getattr(pipe, "unet", None), torch.nn.Module):
        raise ValueError(
            f"{type(pipe).__name__} has no UNet, but optimise takes pipelines of Stable Diffusion."
        )
    machine = this_machine(pipe.device) if machine is None else machine
    if not isinstance(machine, Machine):
        raise ValueError("machine is what this_machine gives: leave it out for the pipeline's own.")
    on_gpu = machine.device == "cuda"
    decisions = [_precision_on_gpu(pipe) if on_gpu else _precision_on_cpu(pipe, machine)]
    decisions += [_channels_last(pipe, on_gpu), _attention(pipe)]
    decisions += _memory(pipe, machine) if on_gpu else _no_memory_shortage()
    if on_gpu:
        offloaded = Report(tuple(decisions)).done("CPU offload")
        decisions.append(_compile_on_gpu(pipe, offloaded, compile_whole))
    elif compile_on_cpu:
        decisions.append(_compile_whole(pipe))
    else:
        reason = "takes minutes on a CPU; compile_on_cpu=True for hundreds of pictures"
        decisions.append(Decision("compile", False, reason))
    return Report(tuple(decisions))


def _precision_on_gpu(pipe: Any) -> Decision:
    if pipe.unet.dtype in HALF:
        return Decision("half precision", True, f"the weights are in {_name(pipe.unet)} already")
    was = _name(pipe.unet)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            _cast(part, torch.float16)
    return Decision(
        "half precision",
        True,
        f"from {was} to float16: half the memory, and the GPU's fast units compute in it",
    )


def _precision_on_cpu(pipe: Any, machine: Machine) -> Decision:
    name = "half precision"
    if pipe.unet.dtype in HALF:
        return Decision(name, True, f"the UNet is in {_name(pipe.unet)} already")
    if machine.device != "cpu" or not machine.fast_bfloat16:
        reason = "this device computes bfloat16 no faster than float32, so float32 stays"
        return Decision(name, False, reason)

    def use() -> None:
        _cast(pipe.unet, torch.bfloat16)
        _translate(pipe.unet)

    try:
        error = try_on_unet(pipe, use)
    except Exception as failure:  # a UNet that is called otherwise
        return Decision(name, False, f"the UNet cannot be tried here ({type(failure).__name__})")
    if not stays(error):
        return Decision(name, False, f"in bfloat16 the UNet's answer moved by {told(error)}")
    return Decision(
        name,
        True,
        "the UNet in bfloat16, which this CPU has instructions for; latents, scheduler, text "
        f"encoder and VAE in float32 (its answer moved by {told(error)})",
    )


def _cast(network: Any, dtype: torch.dtype) -> None:
    """PyTorch's own `to`: that of Diffusers warns of a list that is empty for Stable Diffusion."""
    torch.nn.Module.to(network, dtype)


def _translate(unet: Any) -> None:
    """Let a UNet of half precision take and give float32, so that the latents keep all digits."""

    def to_weights(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        def cast(value: Any) -> Any:
            floats = isinstance(value, Tensor) and value.is_floating_point()
            return value.to(unet.dtype) if floats else value

        # The second of the inputs is the timestep, which the UNet casts as it needs.
        return (cast(args[0]), *args[1:]), {key: cast(value) for key, value in kwargs.items()}

    def to_float32(_: Any, __: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (output[0].float(), *output[1:])
        output.sample = output.sample.float()
        return output

    unet.register_forward_pre_hook(to_weights, with_kwargs=True)
    unet.register_forward_hook(to_float32)


def _channels_last(pipe: Any, on_gpu: bool) -> Decision:
    name = "channels_last"
    if not on_gpu:
        return Decision(name, False, "measured on CPUs: no faster, or slower")
    for network in (pipe.unet, pipe.vae):
        network.to(memory_format=torch.channels_last)
    return Decision(name, True, "the GPU's convolutions in half precision want the channels last")


def _attention(pipe: Any) -> Decision:
    name = "fused attention"
    kinds = {type(processor).__name__ for processor in pipe.unet.attn_processors.values()}
    if kinds <= {"AttnProcessor2_0", "FusedAttnProcessor2_0"}:
        reason = "scaled_dot_product_attention is Diffusers' own choice: nothing to do"
        return Decision(name, True, reason)
    return Decision(name, False, f"the UNet has attention of its own, {', '.join(sorted(kinds))}")


def _no_memory_shortage() -> list[Decision]:
    reason = "saves GPU memory, costs time; here is no GPU"
    return [Decision(name, False, reason) for name in ("VAE slices", "VAE tiles", "CPU offload")]


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


def _fast_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16: AVX-512 BF16 or AMX."""
    if hasattr(torch.cpu, "get_capabilities"):
        can = torch.cpu.get_capabilities()  # no AVX where the CPU is no x86
        return any(can.get(name, False) for name in ("avx512_bf16", "amx_tile"))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _name(network: Any) -> str:
    return str(network.dtype).removeprefix("torch.")
