"""What makes a UNet faster on a CPU, each means on trial."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch

from . import lean
from .deciding import Decision, Machine
from .exported import RUNTIMES, ExportedUNet, export
from .trial import Trial, stays, told

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Means:
    """One means in PyTorch alone.

    Attributes:
        name: in the report.
        use: changes the UNet, and says whether it found anything to change.
        reason: why it is used.
        in_bfloat16: whether it pays in bfloat16 only.
    """

    name: str
    use: Callable[[Any], bool]
    reason: str
    in_bfloat16: bool = True


# In this order. What each is worth was measured on the zoo's model: `benchmarks/sampling.py means`.
MEANS = (
    Means("channels_last", lean.channels_last, "as convolutions in bfloat16 want their weights"),
    Means(
        "small convolutions",
        lean.small_convolutions,
        "those of few pixels are matrix products",
    ),
    Means(
        "attention products",
        lean.attention_as_products,
        "two matrix products, in bfloat16 faster than torch's fused kernel",
    ),
    Means(
        "prompt once",
        lean.prompt_once,
        "its keys and values once a picture, not in each step",
        in_bfloat16=False,
    ),
)


def decide_on_cpu(pipe: Any, machine: Machine, extras: Collection[str] | None) -> list[Decision]:
    """Take what a CPU gains most by: a program of its own for the UNet, else what torch has."""
    if isinstance(pipe.unet, ExportedUNet):
        name = pipe.unet.runtime.title
        return [Decision(name, True, "computes the UNet already")]
    trial = Trial(pipe)
    decisions = _elsewhere(pipe, trial, machine, extras)
    if taken := next((decision.name for decision in decisions if decision.done), None):
        reason = f"{taken} arranges the UNet itself"
        return [*decisions, *(Decision(name, False, reason) for name in _names())]
    return decisions + _in_torch(pipe, trial, machine)


def _names() -> list[str]:
    return ["half precision", *(means.name for means in MEANS)]


def _elsewhere(
    pipe: Any, trial: Trial, machine: Machine, extras: Collection[str] | None
) -> list[Decision]:
    """OpenVINO, else ONNX Runtime."""
    decisions: list[Decision] = []
    for extra, runtime in RUNTIMES.items():
        if taken := next((one.name for one in decisions if one.done), None):
            decisions.append(Decision(runtime.title, False, f"{taken} is faster, and is there"))
        elif machine.device != "cpu":
            decisions.append(Decision(runtime.title, False, "for CPUs"))
        elif extras is not None and extra not in extras:
            decisions.append(Decision(runtime.title, False, "not among the extras asked for"))
        elif not runtime.installed():
            reason = f"not installed: pip install 'diffusers-notes[{extra}]'"
            decisions.append(Decision(runtime.title, False, reason))
        else:
            decisions.append(_take(pipe, trial, machine, runtime))
    return decisions


def _take(pipe: Any, trial: Trial, machine: Machine, runtime: Any) -> Decision:
    half = machine.fast_bfloat16 and runtime.knows_bfloat16
    try:
        made = export(pipe.unet, runtime, half=half)
        error = trial.moved(made)
    except Exception as failure:  # a kind of UNet that it does not know has many names
        return Decision(runtime.title, False, f"cannot take this UNet ({type(failure).__name__})")
    if not stays(error):
        return Decision(runtime.title, False, f"its answer is off by {told(error)}")
    pipe.unet = made
    words = "in float32"
    if half:
        words = "in bfloat16, which this CPU has instructions for, the noisiest steps in float32"
    return Decision(
        runtime.title, True, f"computes the UNet {words} (its answer moved by {told(error)})"
    )


def _in_torch(pipe: Any, trial: Trial, machine: Machine) -> list[Decision]:
    """PyTorch alone: bfloat16 where the CPU has it, and the means that go with it."""
    if pipe.unet.dtype in HALF:
        reason = f"the UNet is in {precision(pipe.unet)} already"
        as_is = [Decision(one.name, False, "for a UNet that comes in float32") for one in MEANS]
        return [Decision("half precision", True, reason), *as_is]
    if any(isinstance(part, lean.CastLinear) for part in pipe.unet.modules()):
        half = lean.computes_in_bfloat16(pipe.unet)
        reason = "optimise was here already"
        return [
            Decision("half precision", half, reason),
            *(Decision(one.name, half or not one.in_bfloat16, reason) for one in MEANS),
        ]
    decisions = [_half_precision(pipe, trial, machine)]
    half = decisions[0].done
    for means in MEANS:
        if machine.device != "cpu":
            decisions.append(Decision(means.name, False, "measured on CPUs only"))
        elif means.in_bfloat16 and not half:
            decisions.append(Decision(means.name, False, "pays in bfloat16 only"))
        else:
            decisions.append(_try(pipe, trial, means))
    return decisions


def _try(pipe: Any, trial: Trial, means: Means) -> Decision:
    found = False

    def use() -> None:
        nonlocal found
        found = means.use(pipe.unet)

    try:
        error = trial.on_unet(use)
    except Exception as failure:  # a UNet of another make
        return Decision(means.name, False, f"cannot be tried here ({type(failure).__name__})")
    if not stays(error):
        return Decision(means.name, False, f"the UNet's answer moved by {told(error)}")
    return Decision(means.name, found, means.reason if found else "this UNet has nothing for it")


def _half_precision(pipe: Any, trial: Trial, machine: Machine) -> Decision:
    name = "half precision"
    if machine.device != "cpu" or not machine.fast_bfloat16:
        reason = "this device computes bfloat16 no faster than float32, so float32 stays"
        return Decision(name, False, reason)

    def use() -> None:
        lean.products_in_bfloat16(pipe.unet)

    try:
        error = trial.on_unet(use)
    except Exception as failure:  # a UNet that is called otherwise
        return Decision(name, False, f"the UNet cannot be tried here ({type(failure).__name__})")
    if not stays(error):
        return Decision(name, False, f"in bfloat16 the UNet's answer moved by {told(error)}")
    return Decision(
        name,
        True,
        "the UNet's products in bfloat16, which this CPU has instructions for; what lies between "
        f"them, latents, text encoder and VAE in float32 (its answer moved by {told(error)})",
    )


def cast(network: Any, dtype: torch.dtype) -> None:
    """PyTorch's own `to`: that of Diffusers warns of a list that is empty for Stable Diffusion."""
    torch.nn.Module.to(network, dtype)


def precision(network: Any) -> str:
    """The name of a network's type."""
    return str(network.dtype).removeprefix("torch.")
