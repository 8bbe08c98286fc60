"""What `optimise` decides by, and what it says of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Decision:
    """One means: its name, whether it was used, and why."""

    name: str
    done: bool
    reason: str


def done(name: str, decisions: Sequence[Decision]) -> bool:
    """Whether the means of that name was used."""
    return next(decision.done for decision in decisions if decision.name == name)


@dataclass(frozen=True)
class Report:
    """What `optimise` decided; printed, a line for each means."""

    decisions: tuple[Decision, ...]

    def done(self, name: str) -> bool:
        """Whether the means of that name was used."""
        return done(name, self.decisions)

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


def _fast_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16: AVX-512 BF16 or AMX."""
    if hasattr(torch.cpu, "get_capabilities"):
        can = torch.cpu.get_capabilities()  # no AVX where the CPU is no x86
        return any(can.get(name, False) for name in ("avx512_bf16", "amx_tile"))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
